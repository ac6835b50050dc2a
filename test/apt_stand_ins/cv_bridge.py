"""Stand-in for apt's cv_bridge: matrices, as the contact node and pictures.py ask for them."""

import re

import numpy as np

_NAMED = {'mono8': ('u1', 1), 'mono16': ('u2', 1), 'rgb8': ('u1', 3)}
_KINDS = {'U': 'u', 'S': 'i', 'F': 'f'}


class CvBridgeError(TypeError):
    pass


class CvBridge:
    def encoding_to_dtype_with_channels(self, encoding):
        if encoding in _NAMED:
            return _NAMED[encoding]
        generic = re.fullmatch('(8|16|32|64)([USF])C([1-4])', encoding)
        if generic is None:
            raise CvBridgeError(f'Unrecognized image encoding [{encoding}]')
        bits, kind, channels = generic.groups()
        return f'{_KINDS[kind]}{int(bits) // 8}', int(channels)

    def imgmsg_to_cv2(self, img_msg, desired_encoding='passthrough'):
        kind, channels = self.encoding_to_dtype_with_channels(img_msg.encoding)
        dtype = np.dtype(kind).newbyteorder('>' if img_msg.is_bigendian else '<')
        rows = np.ndarray((img_msg.height, img_msg.step), np.uint8, img_msg.data)
        rows = np.ascontiguousarray(rows[:, : img_msg.width * channels * dtype.itemsize])
        image = rows.view(dtype).astype(dtype.newbyteorder('='))
        if channels > 1:
            image = image.reshape(img_msg.height, img_msg.width, channels)
        if desired_encoding in ('passthrough', img_msg.encoding):
            return image
        if desired_encoding != 'rgb8' or channels != 3:
            raise CvBridgeError(
                f'[{img_msg.encoding}] is not a color format. but [{desired_encoding}] is.'
            )
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)
