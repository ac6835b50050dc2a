"""The nano recipe: the whole system at tiny size, trained on the synthetic world.

``cs3-train nano --out DIR`` makes the scenes, trains every network in the way its big sibling was
trained, then the localiser by weak supervision, and writes a bundle that ``cs3`` and the node load.
It knows only the synthetic world.
"""
