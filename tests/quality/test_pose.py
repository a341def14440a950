import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.quality.pose import FACE_MODEL, head_pose

ANGLES = st.floats(-1.0, 1.0)


def axis(which: int, angle: float) -> np.ndarray:
    """Rodrigues' formula about a coordinate axis, as an oracle for the module's conventions."""
    k = np.zeros((3, 3))
    i, j = [(1, 2), (2, 0), (0, 1)][which]
    k[i, j], k[j, i] = -1, 1
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def project(yaw: float, pitch: float, roll: float, size: float = 50, at: tuple[float, float] = (120, 90)) -> np.ndarray:
    """Landmarks of the model face as a camera far away sees it: x right, y down, z away."""
    # Looking right moves the nose, which points to -z, to +x: a turn by -yaw about y. Looking up moves it to -y.
    rotation = axis(2, roll) @ axis(1, -yaw) @ axis(0, -pitch)
    return (FACE_MODEL @ rotation.T)[:, :2] * size + at


@given(ANGLES, ANGLES, ANGLES, st.floats(2, 500))
def test_finds_the_angles_of_a_projected_model(yaw, pitch, roll, size):
    pose = head_pose(project(yaw, pitch, roll, size)[None])
    assert [pose.yaw[0], pose.pitch[0], pose.roll[0]] == pytest.approx([yaw, pitch, roll], abs=1e-6)
    assert pose.eye_distance[0] == pytest.approx(size)


def test_signs():
    nose_right, nose_up = project(0.5, 0, 0), project(0, 0.4, 0)
    straight = project(0, 0, 0)
    assert (nose_right - nose_right[:2].mean(0))[2, 0] > 5
    assert (nose_up - nose_up[:2].mean(0))[2, 1] < (straight - straight[:2].mean(0))[2, 1] - 5
    leaning = project(0, 0, 0.3)
    assert leaning[1, 1] > leaning[0, 1]  # clockwise: the right eye is lower


@given(ANGLES, ANGLES, ANGLES, st.integers(0, 2**32 - 1))
def test_a_mirror_image_looks_the_other_way(yaw, pitch, roll, seed):
    points = project(yaw, pitch, roll) + np.random.default_rng(seed).normal(0, 2, (5, 2))
    mirrored = (points * [-1, 1] + [640, 0])[[1, 0, 2, 4, 3]]
    one, two = head_pose(points[None]), head_pose(mirrored[None])
    assert [two.yaw[0], two.pitch[0], two.roll[0]] == pytest.approx([-one.yaw[0], one.pitch[0], -one.roll[0]], abs=1e-6)
    assert two.eye_distance == pytest.approx(one.eye_distance)


@given(st.floats(-0.5, 0.5), st.floats(0.1, 10), st.integers(0, 2**32 - 1))
def test_turning_the_picture_changes_the_roll_alone(angle, scale, seed):
    points = project(0.3, -0.2, 0.1) + np.random.default_rng(seed).normal(0, 2, (5, 2))
    turned = points @ axis(2, angle)[:2, :2].T * scale + 7
    one, two = head_pose(points[None]), head_pose(turned[None])
    expected = [one.yaw[0], one.pitch[0], one.roll[0] + angle]
    assert [two.yaw[0], two.pitch[0], two.roll[0]] == pytest.approx(expected, abs=1e-6)
    assert two.eye_distance[0] == pytest.approx(one.eye_distance[0] * scale)


def test_no_pose_without_distinct_finite_points():
    points = np.stack([project(0, 0, 0), np.full((5, 2), 3.0), np.full((5, 2), np.nan), np.full((5, 2), np.inf)])
    for values in head_pose(points):
        assert np.isfinite(values[0])
        assert np.isnan(values[1:]).all()
    assert len(head_pose(np.zeros((0, 5, 2))).yaw) == 0


def test_points_on_a_line_have_finite_angles():
    line = np.stack([np.linspace(0, 40, 5), np.linspace(0, 20, 5)], 1)[None]
    assert all(np.isfinite(values).all() for values in head_pose(line))


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected landmarks \(N, 5, 2\), got \(5, 2\)"):
        head_pose(np.zeros((5, 2)))
