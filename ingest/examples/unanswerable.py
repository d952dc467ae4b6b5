"""Questions without an answer: which rows get none, and everyday questions that no document here speaks of.

In: the share of rows wanted, and the documents. Out: for a row, whether and how its answer is kept from it; and those
of the everyday questions whose subject occurs nowhere in the documents.

There are three kinds. `withheld`: a real question, shown with passages of other documents. `elsewhere`: a real
question, shown with other sections of its own document, which look right and are not. `absent`: a question about
something else.
"""

from collections.abc import Iterable
from typing import Literal

from ingest.examples.answers import content_words
from ingest.examples.split import share
from ingest.records import Chunk

Unanswerable = Literal["withheld", "elsewhere", "absent"]
# Of four unanswerable rows, two are withheld.
KINDS: tuple[Unanswerable, ...] = ("withheld", "withheld", "elsewhere", "absent")

# Each with the words that its subject cannot be written about without.
EVERYDAY = {
    "How long should I boil an egg?": "egg eggs",
    "What is a good recipe for sourdough bread?": "sourdough",
    "Which wine goes well with salmon?": "wine salmon",
    "How do I get a coffee stain out of a shirt?": "stain shirt",
    "How often should I water a cactus?": "cactus",
    "When should I prune roses?": "roses prune",
    "Who painted the Mona Lisa?": "mona lisa",
    "Who wrote Romeo and Juliet?": "romeo juliet",
    "What is the capital of Australia?": "australia canberra",
    "How high is Mount Everest?": "everest",
    "How far is the Moon from the Earth?": "moon",
    "Which planet has the most moons?": "planet moons",
    "Why is the sky blue?": "sky",
    "How do birds find their way when they migrate?": "birds",
    "What do hedgehogs eat?": "hedgehogs hedgehog",
    "How long do elephants live?": "elephants elephant",
    "How do I teach a puppy to sit?": "puppy",
    "Which vaccinations does a kitten need?": "kitten vaccinations",
    "How do I treat a sunburn?": "sunburn",
    "What helps against a headache?": "headache",
    "How many calories are in a banana?": "calories banana",
    "How do I improve my backhand in tennis?": "tennis backhand",
    "What is the offside rule in football?": "offside football",
    "Who won the first football World Cup?": "football",
    "How many players are in a basketball team?": "basketball",
    "How do I tune a guitar?": "guitar",
    "How many strings does a violin have?": "violin",
    "Who composed the Moonlight Sonata?": "sonata moonlight",
    "How do I change a bicycle tyre?": "bicycle tyre",
    "How often does a car need new brake pads?": "brake pads",
    "What documents do I need to rent a car in Spain?": "spain",
    "Do I need a visa for a holiday in Japan?": "visa japan",
    "What is the best time to visit Iceland?": "iceland",
    "How do I fold a paper crane?": "origami crane",
    "How do I knit a scarf?": "knit scarf",
    "Which knot holds a boat to a pier?": "pier boat",
    "How do I paint a ceiling without streaks?": "ceiling streaks",
    "How do I get rid of moths in the kitchen?": "moths kitchen",
    "How do I fix a dripping tap?": "dripping tap",
    "What should I plant on a shady balcony?": "balcony shady",
    "How much does a kilogram of gold cost?": "kilogram gold",
    "How do I open a savings account for a child?": "savings",
    "What does the Magna Carta say?": "magna carta",
    "When did the Roman Empire fall?": "roman empire",
    "Who was the first person on the Moon?": "moon astronaut",
    "What is the fastest animal in the sea?": "sailfish sea",
    "How does a volcano erupt?": "volcano",
    "What causes an earthquake?": "earthquake",
}


def kind_of(seed: int, unanswerable_share: float, *parts: str) -> Unanswerable | None:
    """How the row that the parts name is kept from its answer; None for one that is answered."""
    if share(seed, "withheld", *parts) >= unanswerable_share:
        return None
    return KINDS[int(share(seed, "kind", *parts) * len(KINDS))]


def absent_questions(chunks: Iterable[Chunk], seed: int) -> list[str]:
    """Everyday questions none of whose words of subject stands in any passage, by hash."""
    words = frozenset(" ".join(EVERYDAY.values()).split())
    found: set[str] = set()
    for chunk in chunks:
        # Finding a word is a hundred times faster than telling all words apart.
        if len(found) < len(words):
            found |= words & content_words(f"{chunk.heading_path} {chunk.text}")
    free = (question for question, subject in EVERYDAY.items() if found.isdisjoint(subject.split()))
    return sorted(free, key=lambda question: share(seed, "absent", question))
