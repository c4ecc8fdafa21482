"""Names for runs and models whose maker gave none: two words and a number, easy to say and to tell apart."""

from __future__ import annotations

from zaffre.runtime import Runtime

_ADJECTIVES = (
    "amber", "bold", "brisk", "calm", "clear", "clever", "cobalt", "copper", "cosy", "crisp", "deft", "early",
    "eager", "fair", "fine", "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "hardy",
    "honest", "humble", "indigo", "ivory", "jolly", "keen", "kind", "lively", "lucid", "lucky", "mellow", "merry",
    "mild", "modest", "neat", "nimble", "noble", "olive", "patient", "placid", "plucky", "polite", "prompt", "proud",
    "quick", "quiet", "rapid", "ready", "ruby", "rustic", "sage", "sandy", "sharp", "silver", "sleek", "smooth",
    "snug", "solid", "spry", "steady", "stout", "sunny", "swift", "tidy", "trusty", "upbeat", "vivid", "warm",
    "wise", "witty", "zesty",
)  # fmt: skip
_NOUNS = (
    "alder", "badger", "beacon", "birch", "bison", "brook", "canyon", "cedar", "cliff", "comet", "coral", "crane",
    "creek", "delta", "dune", "eagle", "ember", "falcon", "fern", "finch", "fjord", "forest", "fox", "gale",
    "garnet", "glacier", "grove", "harbor", "hawk", "hazel", "heron", "hill", "ibis", "inlet", "iris", "island",
    "jay", "juniper", "lagoon", "lake", "larch", "lark", "linden", "lotus", "lynx", "maple", "marsh", "meadow",
    "mesa", "moose", "moss", "newt", "oak", "orchid", "osprey", "otter", "owl", "pebble", "pine", "plover", "pond",
    "prairie", "quail", "quartz", "raven", "reef", "ridge", "river", "robin", "rowan", "sparrow", "spruce", "stone",
    "stream", "thistle", "tide", "trout", "valley", "walnut", "willow", "wren",
)  # fmt: skip


def two_words(runtime: Runtime) -> str:
    number = int(runtime.hex_id()[:12], 16)
    number, adjective = divmod(number, len(_ADJECTIVES))
    number, noun = divmod(number, len(_NOUNS))
    return f"{_ADJECTIVES[adjective]}-{_NOUNS[noun]}-{number % 1000}"
