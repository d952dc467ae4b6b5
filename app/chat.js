// Runs once in the conversation's element: turns clicks into events of the page, and keeps the newest text in view.
// `element`, `trigger` and `watch` come from gr.HTML. Custom events must be spelled out here for Gradio to know them.
const events = ['example', 'choose', 'vote', 'correct'];

element.addEventListener('click', (click) => {
  const button = click.target.closest('button[data-act]');
  if (!button || !events.includes(button.dataset.act)) return;
  const { act, turn, vote, source } = button.dataset;
  trigger(act, { turn: Number(turn), vote: vote || null });
  // The panel may have to change to this answer's sources first.
  if (source) setTimeout(() => showSource(source), 150);
  if (act === 'correct') setTimeout(showCorrection, 250);
});

function showSource(number) {
  const card = document.getElementById(`source-${number}`);
  if (!card) return;
  card.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
  card.focus({ preventScroll: true });
}

function showCorrection() {
  const panel = document.getElementById('wr-correction');
  if (!panel) return;
  panel.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
  // Somebody who is quick may be writing in it already.
  if (!panel.contains(document.activeElement)) panel.querySelector('textarea')?.focus({ preventScroll: true });
}

const log = () => element.querySelector('.wr-log');
let following = true;
element.addEventListener('scroll', () => {
  const box = log();
  if (box) following = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
}, true);

watch('value', () => {
  const box = log();
  if (!box) return;
  const asked = box.querySelectorAll('.wr-turn').length;
  if (asked !== element.asked) following = true;
  element.asked = asked;
  if (following) box.scrollTop = box.scrollHeight;
});
