"""HTML pages that need nothing beside them: every byte is in the file."""

from __future__ import annotations

import base64

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from cs3_ros.collision import Image
from cs3_ros.drawing.overlay import OBJECT_COLOURS
from cs3_ros.files.images import as_jpeg


def render(package: str, template: str, **values: object) -> str:
    """A whole page.

    Its template extends ``base.html``, which has the style and forbids to load anything, and may
    import tables, pictures and legends from ``parts.html``; both lie in ``drawing/templates``.
    Values are plain data: each is escaped wherever it stands.

    Args:
        package: dotted name of the package that has the template.
        template: file name of the template in the package's folder.
        values: what the template names.

    Raises:
        jinja2.TemplateNotFound: the package has no such template.
        jinja2.UndefinedError: the template names what was not given.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, ''), PackageLoader('cs3_ros.drawing')]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['data_uri'] = as_data_uri
    environment.globals['object_colours'] = OBJECT_COLOURS
    return environment.get_template(template).render(values)


def as_data_uri(image: Image | bytes) -> str:
    """A picture, RGB uint8 [H, W, 3] or the bytes of a JPEG, inside of a URI.

    Raises:
        ValueError: OpenCV could not encode it.
    """
    data = image if isinstance(image, bytes) else as_jpeg(image)
    return f'data:image/jpeg;base64,{base64.b64encode(data).decode()}'
