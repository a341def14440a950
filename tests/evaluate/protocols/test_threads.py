from concurrent.futures import ThreadPoolExecutor

from mien.data.insightface_bin import read_bin, write_bin
from mien.evaluate.protocols import FolderProtocol, InsightFaceProtocol, LfwPairs, YtfProtocol


def at_once(call):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: call(), range(24)))


def test_protocols_may_be_read_by_several_threads(put, text, words, tmp_path, jpeg):
    folder = put(*(f"p{i}/p{i}_{j:04d}.jpg" for i in range(20) for j in (1, 2)))
    rows = [f"p{i}\t1\t2" for i in range(20)] + [f"p{i}\t1\tp{(i + 1) % 20}\t2" for i in range(20)]
    videos = put(*(f"p{i}/{j}/{j}.{k}.jpg" for i in range(5) for j in (0, 1) for k in range(4)), root="videos")
    splits = text("".join(f"1, p{i}/0, p{i}/1, 0, 1\n" for i in range(5)), "splits.txt")
    pairs = LfwPairs(text("20\n" + "\n".join(rows)), folder)
    packed = InsightFaceProtocol(write_bin(tmp_path / "x.bin", [jpeg(i) for i in range(200)], [True, False] * 50))
    frames = YtfProtocol(videos, splits, most_frames=2)
    for protocol in (pairs, packed, frames):
        alone = words(protocol.read())
        assert all(words(found) == alone for found in at_once(protocol.read))
    split = FolderProtocol(folder).identification
    alone = split().unknown.tolist()
    assert all(found.unknown.tolist() == alone for found in at_once(split))


def test_one_open_file_serves_several_threads(tmp_path, jpeg):
    pictures = [jpeg(i) for i in range(200)]
    found = read_bin(write_bin(tmp_path / "x.bin", pictures, [True] * 100))
    assert all(read == pictures for read in at_once(lambda: [bytes(p) for p in found.pictures]))
