"""Start weights of a backbone, as a user's option names them."""

from __future__ import annotations

from textwrap import shorten

from backbone.googlenet import GoogLeNet
from backbone.weights import load_backbone_weights
from detection.errors import InputError

_LONGEST_REASON = 500


def load_start_weights(network: GoogLeNet, source: str, *, option: str) -> None:
    """Fills a backbone, in place; see ``load_backbone_weights``.

    Args:
        network: The backbone.
        source: Where the weights come from.
        option: What the user set to it, for the message.

    Raises:
        InputError: If the weights cannot be had or do not fit.
    """
    try:
        load_backbone_weights(network, source)
    except (ValueError, OSError) as error:
        # With weights of another network, every name is at fault.
        raise InputError(f"{option}: {shorten(str(error), _LONGEST_REASON, placeholder=' ...')}") from error
