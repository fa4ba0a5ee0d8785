"""Archives: what is refused writes nothing, what is unpacked lies in the folder."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from rankdet.untrusted import Refused, unpack

FILES = {'VOC/a.txt': b'first', 'VOC/b/c.jpg': b'second' * 100, 'empty': b''}


def zipped(path, files=FILES, **modes):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = modes.get('mode', stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def tarred(path, files=FILES, kind=tarfile.REGTYPE, link=''):
    with tarfile.open(path, 'w' + ':gz' * (path.suffix == '.gz')) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, link
            archive.addfile(info, io.BytesIO(content))
    return path


def below(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def refused(archive, words):
    """With nothing written."""
    before = below(archive.parent)
    with pytest.raises(Refused, match=words):
        unpack(archive, archive.parent / 'out' / 'in')
    assert below(archive.parent) == before and not (archive.parent / 'out').exists()


PACKERS = pytest.mark.parametrize(
    'pack, name', [(zipped, 'a.zip'), (tarred, 'a.tar'), (tarred, 'a.tar.gz')]
)


@PACKERS
def test_unpacking(tmp_path, pack, name):
    archive = pack(tmp_path / name)
    told = []
    files = unpack(archive, tmp_path / 'out/in', lambda *progress: told.append(progress[1:]))
    assert below(tmp_path / 'out/in') == FILES
    assert [path.relative_to(tmp_path / 'out/in').as_posix() for path in files] == list(FILES)
    assert told == [(1, 3), (2, 3), (3, 3)]


@PACKERS
def test_going_on_where_it_was_interrupted(tmp_path, pack, name):
    archive, out = pack(tmp_path / name), tmp_path / 'out'
    unpack(archive, out)
    (out / 'empty').unlink()
    kept = (out / 'VOC/a.txt').stat().st_mtime_ns
    unpack(archive, out)
    assert below(out) == FILES and (out / 'VOC/a.txt').stat().st_mtime_ns == kept


@PACKERS
def test_nothing_is_overwritten(tmp_path, pack, name):
    archive, out = pack(tmp_path / name), tmp_path / 'out'
    (out / 'VOC/b').mkdir(parents=True)
    (out / 'VOC/b/c.jpg').write_text('mine')
    with pytest.raises(FileExistsError, match=r'c\.jpg is there already'):
        unpack(archive, out)
    assert below(out) == {'VOC/b/c.jpg': b'mine'}


@PACKERS
def test_a_link_in_the_way(tmp_path, pack, name):
    archive, out = pack(tmp_path / name), tmp_path / 'out'
    out.mkdir()
    (out / 'empty').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(FileExistsError, match='empty is there already'):
        unpack(archive, out)
    assert not (tmp_path / 'elsewhere').exists()


@PACKERS
@pytest.mark.parametrize('where', ['VOC', 'VOC/b'])
def test_a_file_where_a_folder_would_be(tmp_path, pack, name, where):
    archive, out = pack(tmp_path / name, {'first': b'1', **FILES}), tmp_path / 'out'
    (out / where).parent.mkdir(parents=True)
    (out / where).write_text('mine')
    with pytest.raises(FileExistsError, match=f'{where} is there already, and no folder'):
        unpack(archive, out)
    assert below(out) == {where: b'mine'}


@PACKERS
@pytest.mark.parametrize('there', [True, False])
def test_a_linked_folder_that_leads_out(tmp_path, pack, name, there):
    archive, out = pack(tmp_path / name, {'first': b'1', **FILES}), tmp_path / 'out'
    out.mkdir()
    (out / 'VOC').symlink_to(tmp_path / 'elsewhere')
    if there:
        (tmp_path / 'elsewhere').mkdir()
    with pytest.raises(FileExistsError, match=r'leads out|no folder'):
        unpack(archive, out)
    assert below(out) == {} and not list(tmp_path.glob('elsewhere/*'))


def test_links_inside_and_to_the_folder_itself(tmp_path):
    archive, out = zipped(tmp_path / 'a.zip'), tmp_path / 'out'
    (out / 'in').mkdir(parents=True)
    (out / 'VOC').symlink_to('in')
    (tmp_path / 'linked').symlink_to(out)
    unpack(archive, tmp_path / 'linked')
    assert (out / 'in/b/c.jpg').read_bytes() == FILES['VOC/b/c.jpg']


@pytest.mark.parametrize('folder', ['file', 'file/below', 'link'])
def test_no_folder_to_unpack_into(tmp_path, folder):
    (tmp_path / 'file').write_text('mine')
    (tmp_path / 'link').symlink_to('nowhere')
    with pytest.raises(FileExistsError, match='is a file: name a folder to unpack into'):
        unpack(zipped(tmp_path / 'a.zip'), tmp_path / folder)
    assert below(tmp_path).keys() == {'file', 'a.zip'}


@PACKERS
@pytest.mark.parametrize(
    'odd',
    ['../a', 'b/../../a', '/a', 'b/../c', '..\\a', 'C:\\a', '..', 'x' * 300, 'b/' + 'é' * 150],
)
def test_names_that_lead_elsewhere(tmp_path, pack, name, odd):
    refused(pack(tmp_path / name, {'fine': b'1', odd: b'2'}), 'outside of the folder|no name for')


@PACKERS
def test_names_that_meet(tmp_path, pack, name):
    refused(pack(tmp_path / name, {'a': b'1', './a': b'2'}), 'occurs twice')
    refused(pack(tmp_path / name, {'a': b'1', 'A': b'2'}), 'occurs twice')
    refused(pack(tmp_path / name, {'a/b': b'1', 'a': b'2'}), 'lies in what is a file')


@pytest.mark.parametrize(
    'kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar(tmp_path, kind):
    refused(tarred(tmp_path / 'a.tar', {'a': b''}, kind, '/etc'), 'is a link or device')


def test_links_in_a_zip(tmp_path):
    refused(zipped(tmp_path / 'a.zip', {'a': b'/etc'}, mode=stat.S_IFLNK | 0o777), 'is a link')


@pytest.mark.parametrize('pack, name', [(zipped, 'a.zip'), (tarred, 'a.tar.gz')])
def test_bombs(tmp_path, pack, name, monkeypatch):
    archive = pack(tmp_path / name, {'a': bytes(3_000_000), 'b': bytes(3_000_000)})
    refused(archive, r'times its size; at most 100 times are read, RANKDET_MAX_UNPACKED_RATIO')
    monkeypatch.setenv('RANKDET_MAX_UNPACKED_RATIO', '5000')
    assert len(unpack(archive, tmp_path / 'out')) == 2


def test_more_than_the_disk_has(tmp_path, monkeypatch):
    usage = type('Usage', (), dict(free=100))
    monkeypatch.setattr('shutil.disk_usage', lambda path: usage)
    refused(zipped(tmp_path / 'a.zip'), 'GB left')


def test_a_size_that_is_a_lie(tmp_path):
    """The directory of the zip says less than there is."""
    archive = zipped(tmp_path / 'a.zip', {'a': b'x' * 1000})
    data = archive.read_bytes()
    archive.write_bytes(data.replace((1000).to_bytes(4, 'little'), (10).to_bytes(4, 'little')))
    with pytest.raises(Refused, match=r'a\.zip'):
        unpack(archive, tmp_path / 'out')
    assert below(tmp_path / 'out') == {}


def test_a_header_that_would_fill_memory(tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w', format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo('a')
        info.pax_headers = {'comment': 'x' * 2_000_000}
        archive.addfile(info)
    refused(tmp_path / 'a.tar', 'a header of')


@pytest.mark.parametrize('content', [b'', b'no archive', b'PK\x05\x06', bytes(1000)])
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / 'a.zip').write_bytes(content)
    refused(tmp_path / 'a.zip', 'is empty|damaged or no zip or tar|holds no file')


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.zip does not exist'):
        unpack(Path(tmp_path, 'none.zip'), tmp_path)
