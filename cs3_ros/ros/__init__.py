"""The only room that imports ROS: the node with its adapters, player, microphone, spectator.

No algorithm lives here; ``bench`` may import ROS too, to measure the node.
"""
