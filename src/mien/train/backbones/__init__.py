"""Networks by name: what to build, what pictures they want, and how they are saved.

- [build][], [names][]: a network by name, with released weights if wanted.
- [Backbone][]: what all of them are; [InputSpec][], [normalise][]: what goes in.
- [describe][]: what a network costs, before it is built.
- [save_network][], [load_network][], [network_facts][]: networks in folders.
"""

from __future__ import annotations

from mien.train.backbones.base import Backbone
from mien.train.backbones.facts import NetworkFacts, describe
from mien.train.backbones.registry import build, names
from mien.train.backbones.saved import load_network, network_facts, save_network
from mien.train.backbones.spec import InputSpec, normalise

__all__ = [
    "Backbone",
    "InputSpec",
    "NetworkFacts",
    "build",
    "describe",
    "load_network",
    "names",
    "network_facts",
    "normalise",
    "save_network",
]
