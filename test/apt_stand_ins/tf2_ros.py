"""Stand-in for apt's tf2_ros: one buffer of static transforms that tests fill."""

TRANSFORMS = {}
"""(target, source) -> geometry_msgs/TransformStamped."""


class TransformException(Exception):
    pass


class Buffer:
    def lookup_transform(self, target_frame, source_frame, time):
        try:
            return TRANSFORMS[target_frame, source_frame]
        except KeyError as error:
            raise TransformException(
                f'"{target_frame}" passed to lookupTransform argument target_frame does not exist'
            ) from error


class TransformListener:
    def __init__(self, buffer, node):
        self.buffer, self.node = buffer, node
