"""Files that strangers wrote: limits first, clear refusals, nothing run, nothing touched outside.

Everything here raises :class:`Refused`, a ValueError that names the file and the reason. Needs
neither torch nor MMDetection. docs/safety.md lists what is refused and how to move the limits.
"""

from rankdet.untrusted.archives import refuse_bomb, unpack
from rankdet.untrusted.coco import check_coco, coco_bytes, is_number
from rankdet.untrusted.configs import ReadConfig, Unread, read_config
from rankdet.untrusted.documents import read_json, read_xml
from rankdet.untrusted.limits import Refused, check_pixels, limit
from rankdet.untrusted.names import leaves_folder, refuse_outside, refuse_unfit_names, visible

__all__ = [
    'ReadConfig',
    'Refused',
    'Unread',
    'check_coco',
    'check_pixels',
    'coco_bytes',
    'is_number',
    'leaves_folder',
    'limit',
    'read_config',
    'read_json',
    'read_xml',
    'refuse_bomb',
    'refuse_outside',
    'refuse_unfit_names',
    'unpack',
    'visible',
]
