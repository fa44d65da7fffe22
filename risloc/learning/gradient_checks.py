"""Check that each weighted loss term has a gradient at the output of the network, and that it is finite."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from risloc.learning.loss import LossTerms, TermError
from risloc.learning.loss_weights import EVERY_PASS, LossWeights
from risloc.learning.prediction import MapOutput, Prediction

__all__ = ["check_gradients", "gradient_norms"]


def gradient_norms(terms: LossTerms, weights: LossWeights, prediction: Prediction) -> dict[str, float]:
    """Compute the 1-norm of each weighted term's gradient at the output of the network.

    The output is that of the last pass; for a term of `EVERY_PASS`, the smallest norm over the passes counts.

    Parameters
    ----------
    terms
        The terms.
    weights
        Their weights.
    prediction
        The prediction from which the terms were computed.

    Returns
    -------
    dict
        The norms by the names of the terms; a term that carries no gradient is left out.
    """
    norms = {}
    for name, weight in weights.effective().items():
        if weight > 0 and terms.values[name].requires_grad:
            passes = (prediction, *prediction.earlier) if name in EVERY_PASS else (prediction,)
            norms[name] = float(torch.stack([_gradient(terms.values[name], each.output) for each in passes]).min())
    return norms


def _gradient(term: Tensor, output: MapOutput) -> Tensor:
    leaves = [output.heat, output.polar, output.log_power, output.spread, output.features]
    leaves = [leaf for leaf in leaves if leaf.requires_grad]  # empty if the pass carries no gradient
    gradients = torch.autograd.grad(term, leaves, retain_graph=True, allow_unused=True) if leaves else ()
    return torch.stack([term.new_zeros(()), *(g.abs().sum().to(term) for g in gradients if g is not None)]).sum()


def check_gradients(
    values: Mapping[str, float], norms: Mapping[str, float], weights: LossWeights, *, sources: bool = True
) -> None:
    """Check in the first step of every run that each weighted term reaches the output of the network.

    A hinge that is already at 0 is exempt, because its gradient is rightly zero.

    Parameters
    ----------
    values
        The values of the terms.
    norms
        The norms by `gradient_norms`, summed over the parts of the step.
    weights
        The weights.
    sources
        Whether any scene of the step has a source; if not, only presence is checked.

    Raises
    ------
    TermError
        The gradient of a weighted term is zero, missing or not finite; the message names the first such term.
    """
    for name, weight in weights.effective().items():
        hinge_is_met = name == "loss_gap" and values[name] == 0
        if weight == 0 or hinge_is_met or (not sources and name != "loss_K"):
            continue
        if name not in norms:
            raise TermError(
                f"{name}: its weight is {weight:.4g}, but it carries no gradient, so that nothing would be learnt from it"
            )
        if not math.isfinite(norms[name]) or norms[name] == 0:
            raise TermError(
                f"{name}: its weight is {weight:.4g}, but its gradient at the network's output is {norms[name]:.4g}; expected a "
                f"finite, non-zero one. Fix the term, or set its weight to 0 to train without it"
            )
