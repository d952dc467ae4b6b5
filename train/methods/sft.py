"""Supervised fine-tuning: the loss is over the answers, and over nothing else."""

from train.methods.base import Job, Prepared
from train.methods.language import language_trainer
from train.rows import training_rows


def prepare(job: Job) -> Prepared:
    """A trainer over the examples and the user's own conversations.

    Raises:
        ModelError: there is nothing to learn, or a line of the user's own is wrong.
    """
    spec = job.spec
    found = training_rows(spec.examples, spec.train.data, job.loaded, job.limit, spec.model.spotlight)
    return language_trainer(job, found, pack=spec.train.packing)
