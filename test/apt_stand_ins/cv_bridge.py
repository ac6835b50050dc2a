"""Stand-in for apt's cv_bridge: images of one channel, as the contact node asks for them."""

import numpy as np

_TYPES = {'mono8': '|u1', '8UC1': '|u1', 'mono16': 'u2', '16UC1': 'u2', '32FC1': 'f4'}


class CvBridgeError(TypeError):
    pass


class CvBridge:
    def imgmsg_to_cv2(self, img_msg, desired_encoding='passthrough'):
        if img_msg.encoding not in _TYPES:
            raise CvBridgeError(f'Unrecognized image encoding [{img_msg.encoding}]')
        if desired_encoding not in ('passthrough', img_msg.encoding):
            raise CvBridgeError(f'{img_msg.encoding} to {desired_encoding}: not by this stand-in')
        order = '>' if img_msg.is_bigendian else '<'
        kind = np.dtype(_TYPES[img_msg.encoding]).newbyteorder(order)
        rows = np.frombuffer(bytes(img_msg.data), np.uint8).reshape(img_msg.height, img_msg.step)
        width = img_msg.width * kind.itemsize
        return np.ascontiguousarray(rows[:, :width]).view(kind).astype(kind.newbyteorder('='))
