"""Training of the models that learn by gradient descent."""

from lobula.training.run import load_model, new_model, new_penalties, train

__all__ = ["load_model", "new_model", "new_penalties", "train"]
