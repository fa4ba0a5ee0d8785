"""A folder of a user's, in the format that it turns out to have, made into one in COCO's."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rankdet.untrusted import refuse_unfit_names, visible

from ..voc import IMAGE_SUFFIXES, Finding, Progress, Record, VocConversion, add_record
from .coco import is_coco, list_coco
from .listing import Folder, Listing
from .voc import is_voc, list_voc
from .yolo import is_yolo, list_yolo

__all__ = ['FORMATS', 'OwnData', 'convert_own', 'read_converted']

#: Name on the command line: name for people, what recognises it, what lists its images.
FORMATS: dict[str, tuple[str, Callable[[Folder], bool], Callable[[Folder], Listing]]] = {
    'voc': ('VOC XML', is_voc, list_voc),
    'coco': ('COCO JSON', is_coco, list_coco),
    'yolo': ('YOLO text', is_yolo, list_yolo),
}
SPLITS = ('train', 'val', 'test')
_MARK = 'conversion.json'


@dataclass
class OwnData:
    """What :func:`convert_own` made; ``conversion.json`` holds it too.

    Attributes:
        out: Folder with ``annotations/instances_{split}.json``; '' where nothing was written.
        images: Folder that the file names in them are relative to.
        source: The folder that was converted.
        format: 'VOC XML', 'COCO JSON' or 'YOLO text'.
        classes: Class names, in the order of their labels.
        counts: For each split the number of ``images``, of those ``without`` objects, and of
            ``objects`` by class name.
        splits: In words, where the splits come from.
        fingerprint: Changes with any file of the source and any option.
        findings: Everything that was left out, clipped or doubtful; also in ``report.txt``.
    """

    out: str
    images: str
    source: str
    format: str
    classes: list[str]
    counts: dict[str, dict]
    splits: str
    fingerprint: str
    findings: list[str] = field(default_factory=list)

    def annotations(self, split: str) -> Path:
        """The annotation file of a split."""
        return Path(self.out, 'annotations', f'instances_{split}.json')

    def summary(self) -> str:
        """Classes and counts, a line each."""
        splits = self.counts.values()
        rows = [('images', [counts['images'] for counts in splits])]
        rows += [(name, [counts['objects'][name] for counts in splits]) for name in self.classes]
        rows += [('images without objects', [counts['without'] for counts in splits])]
        width = max(len(name) for name, _ in rows)
        classes = f'{len(self.classes)} class{"es" if len(self.classes) > 1 else ""}'
        lines = [f'{self.format}, {classes}; splits {self.splits}']
        lines.append(' ' * width + ''.join(f'{split:>9}' for split in self.counts))
        lines += [f'{name:<{width}}' + ''.join(f'{n:>9,}' for n in row) for name, row in rows]
        return '\n'.join(map(visible, lines))


def convert_own(
    folder: str | os.PathLike,
    out: str | os.PathLike | None = None,
    *,
    format: str | None = None,
    val_share: float = 0.2,
    seed: int = 0,
    skip_bad: bool = False,
    copy_images: bool = False,
    workers: int | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> OwnData:
    """Convert a user's data to ``annotations/instances_{train,val}.json`` in COCO's format.

    The splits are the data's own: lists, data.yaml, or names of folders and files. Without a
    validation split the test split serves as one; without both, the share ``val_share`` of the
    images is held out: those with the lowest SHA-256 of seed and file name, so that every machine
    picks the same, and images that are added later leave the others where they are. Classes that no
    object has are left out. A second call for the same data and options does nothing.

    Args:
        folder: VOC XML, COCO JSON or YOLO text in any usual layout.
        out: Folder to make, complete or not at all; an earlier conversion is replaced. None only
            checks.
        format: 'voc', 'coco' or 'yolo'; None recognises it.
        val_share: Share of images held out, in (0, 1).
        seed: Another seed holds out others.
        skip_bad: Leave out what is wrong, and list it, instead of failing.
        copy_images: Copy the images into ``out/images``; otherwise they stay where they are.
        workers: Threads that decode images; None lets Python choose.
        progress: Called as ``progress(stage, done, total)``.

    Returns:
        OwnData: What was made.

    Raises:
        FileNotFoundError: If the folder does not exist.
        FileExistsError: If ``out`` holds something else than an earlier conversion.
        ValueError: If an option is out of range, the format cannot be told, or anything in the data
            is wrong: the message names file, line or object, and how much more there is.
    """
    if format not in (None, *FORMATS):
        raise ValueError(f'format must be one of {list(FORMATS)}, got {format!r}')
    if not 0 < val_share < 1:
        raise ValueError(f'val_share must lie between 0 and 1, got {val_share!r}')
    tree = Folder(folder)
    options = f'{format} {val_share} {seed} {skip_bad} {copy_images}'
    fingerprint = hashlib.sha256(f'{tree.fingerprint()} {options}'.encode()).hexdigest()
    if out is not None:
        out = Path(out).absolute()
        _check_out(out, tree.root)
        earlier = read_converted(out)
        if earlier and earlier.fingerprint == fingerprint:
            return earlier
    kind = format or _recognise(tree)
    name, _, list_images = FORMATS[kind]
    listing = list_images(tree)
    records = _read(listing, workers, progress)
    findings = [Finding('file skipped', str(path), 'is no regular file') for path in tree.odd]
    findings += listing.findings + [found for r in records for found in r[1].findings]
    findings += _drop_repeated(records)
    findings = [Finding(f.kind, _printable(f.file), _printable(f.reason)) for f in findings]
    _stop_at(findings, skip_bad)
    splits, how = _settle_splits(records, tree.root, val_share, seed)
    classes, unused = _classes(listing.classes, splits)
    refuse_unfit_names((*classes, *unused), str(tree.root))
    findings += [
        Finding('note', str(tree.root), f'class {c!r} has no objects, and is left out')
        for c in unused
    ]
    made = OwnData(
        out=str(out or ''),
        images=str(out / 'images' if out and copy_images else tree.root),
        source=str(tree.root),
        format=name,
        classes=list(classes),
        counts={},
        splits=how,
        fingerprint=fingerprint,
        findings=list(map(str, findings)),
    )
    contents = {}
    for split, members in splits.items():
        content = _coco(members, classes, tree.root, f'{name}, {split}')
        contents[split] = content
        objects = Counter(name for record in members for name, *_ in record.objects)
        made.counts[split] = dict(
            images=len(members),
            without=sum(not record.objects for record in members),
            objects={name: objects[name] for name in classes},
        )
    if out is not None:
        used = [r for members in splits.values() for r in members] if copy_images else []
        files = {record.path for record in used if record.path is not None}
        _write(out, made, contents, sorted(files), tree.root, progress)
    return made


def read_converted(out: str | os.PathLike) -> OwnData | None:
    """What an earlier call made in a folder; None where there is none."""
    try:
        return OwnData(**json.loads(Path(out, _MARK).read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError):
        return None


def _recognise(tree: Folder) -> str:
    fits = [kind for kind, (_, is_it, _) in FORMATS.items() if is_it(tree)]
    if len(fits) > 1:
        names = ' and '.join(FORMATS[kind][0] for kind in fits)
        raise ValueError(
            f'{tree.root} holds annotations as {names}: say which are meant (--format {fits[0]})'
        )
    if not fits:
        known = '' if tree.images else f' ({", ".join(sorted(IMAGE_SUFFIXES))})'
        odd = f'; {tree.odd[0]} is no regular file, and not read' if tree.odd else ''
        raise ValueError(
            f'{tree.root} holds {len(tree.images)} images{known} and {len(tree.files)} files, but '
            'no annotations known here: VOC XML (.xml), COCO JSON (images, annotations, '
            f'categories) or YOLO text (a .txt of the name of each image){odd}'
        )
    return fits[0]


def _read(listing: Listing, workers: int | None, progress: Progress) -> list[tuple]:
    """Split and record of each image that can be used, or of which something is reported."""
    records = []
    with ThreadPoolExecutor(workers) as pool:
        for done, record in enumerate(pool.map(lambda job: job.read(), listing.jobs), 1):
            if record.path and _printable(str(record.path)) != str(record.path):
                reason = 'its name is not UTF-8: rename it'
                record = Record([Finding('image skipped', str(record.path), reason)])
            records.append((listing.jobs[done - 1].split, record))
            progress('reading images', done, len(listing.jobs))
    return records


def _printable(text: str) -> str:
    """With escapes for what is not UTF-8: neither JSON nor every terminal takes it."""
    return text.encode('utf-8', 'backslashreplace').decode('utf-8')


def _drop_repeated(records: list[tuple]) -> list[Finding]:
    """An image that is trained on and tested on would flatter; what comes second is taken out.

    Links lead to one image as well.
    """
    seen: dict[Path, tuple[str | None, Path]] = {}
    findings = []
    for split, record in records:
        if record.path is None:
            continue
        real = record.path.resolve()
        if real in seen:
            first, path = seen[real]
            parts = first or 'train', split or 'train'  # where those without a split go
            where = 'twice' if parts[0] == parts[1] else f'in {parts[0]} and in {parts[1]}'
            also = '' if path == record.path else f': {path} is the same file'
            findings.append(Finding('image skipped', str(record.path), f'is there {where}{also}'))
            record.path = None
        else:
            seen[real] = split, record.path
    return findings


def _stop_at(findings: list[Finding], skip_bad: bool) -> None:
    bad = [finding for finding in findings if finding.kind.endswith('skipped')]
    if bad and not skip_bad:
        more = f'; and {len(bad) - 1} more' if len(bad) > 1 else ''
        raise ValueError(
            f'{bad[0].file}: {bad[0].reason}{more}. Put it right, or leave out whatever is wrong '
            'and have it listed: --skip-bad'
        )


def _settle_splits(
    records: list[tuple], root: Path, share: float, seed: int
) -> tuple[dict[str, list[Record]], str]:
    """Records of each split, and in words where the splits come from."""
    parts = {split: [r for s, r in records if s == split and r.path] for split in (*SPLITS, None)}
    how = "are the data's own"
    train, val, test = parts['train'] + parts[None], parts['val'], parts['test']
    if not train:  # only tested on, as far as names go
        train, val, test = val + test, [], []
    if not val:
        val, test = test, []
        how += '; its test split serves as val' if val else ''
    if not val:
        order = sorted(train, key=lambda r: _draw(r.path.relative_to(root).as_posix(), seed))
        count = min(max(1, round(share * len(order))), len(order) - 1)
        held = {id(record) for record in order[: max(count, 0)]}
        val = [record for record in train if id(record) in held]
        train = [record for record in train if id(record) not in held]
        how = f'are made here: {share:.0%} of the images are held out, seed {seed}'
    for name, members in (('train on', train), ('measure on', val)):
        if not any(map(_counts, members)):
            what = f'{root} has no image with an object to {name}'
            if any(record.objects for record in members):
                what += ': difficult objects and crowds are neither trained nor measured'
            elif sum(map(_counts, [*train, *val])) < 2:
                what += ': it takes two with objects, one to train on and one to measure on'
            elif 'made here' in how:
                what += ': --seed and --val-share hold out others'
            raise ValueError(what)
    splits = dict(train=train, val=val, test=test)
    return {split: members for split, members in splits.items() if members}, how


def _counts(record: Record) -> bool:
    """Whether any object of an image is neither difficult nor a crowd."""
    return not all(difficult for *_, difficult in record.objects)


def _draw(name: str, seed: int) -> str:
    return hashlib.sha256(f'{seed}:{name}'.encode(errors='replace')).hexdigest()


def _classes(listed: tuple[str, ...], splits: dict[str, list[Record]]) -> tuple[tuple, list]:
    """Names that objects have, in the data's order, else sorted; and names that none has."""
    used = {name for members in splits.values() for r in members for name, *_ in r.objects}
    ordered = [*listed, *sorted(used - set(listed))]
    return tuple(n for n in ordered if n in used), [n for n in ordered if n not in used]


def _coco(members: list[Record], classes: tuple[str, ...], root: Path, what: str) -> dict:
    categories = [dict(id=number, name=name) for number, name in enumerate(classes, 1)]
    content = dict(
        info=dict(description=f'converted from {what}'),
        images=[],
        annotations=[],
        categories=categories,
    )
    conversion = VocConversion(content, classes, root)
    for record in members:
        assert record.path is not None  # those without an image were left out
        add_record(conversion, record, record.path, skip_unknown=False)
    return content


def _check_out(out: Path, root: Path) -> None:
    if out == root or root in out.parents:
        raise ValueError(f'{out} lies in the data folder: choose another place for the result')
    if out.exists() and not (out / _MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f'{out} holds something else: choose another folder')


def _write(
    out: Path, made: OwnData, contents: dict, files: list[Path], root: Path, progress: Progress
) -> None:
    """Make the folder under another name first: it appears complete or not at all."""
    part, old = (out.with_name(f'.{out.name}.{os.getpid()}.{end}') for end in ('part', 'old'))
    try:
        (part / 'annotations').mkdir(parents=True)
        for done, path in enumerate(files, 1):
            target = part / 'images' / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            progress('copying images', done, len(files))
        for split, content in contents.items():
            text = json.dumps(content, ensure_ascii=False, allow_nan=False)
            path = part / 'annotations' / f'instances_{split}.json'
            path.write_text(text + '\n', encoding='utf-8')
        report = '\n'.join([made.summary(), '', *made.findings])
        (part / 'report.txt').write_text(report + '\n', encoding='utf-8')
        mark = json.dumps(asdict(made), indent=1, ensure_ascii=False)
        (part / _MARK).write_text(mark + '\n', encoding='utf-8')
        if out.exists():
            out.rename(old)
        part.rename(out)
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        for leftover in (part, old):
            shutil.rmtree(leftover, ignore_errors=True)
