"""The variables that ROS wants, and the Fast DDS profile."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from cs3_ros.ros.environment import (
    USERS_TRANSPORT,
    fastdds_profile,
    launched_environment,
    missing_environment,
)

NAMESPACE = '{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}'


def wheel_prefix(tmp_path: Path) -> Path:
    packages = tmp_path / 'share/ament_index/resource_index/packages'
    packages.mkdir(parents=True)
    (packages / 'rcl_interfaces').touch()
    return tmp_path


def test_ros_from_wheels_is_found_in_the_environments_prefix(tmp_path):
    prefix = wheel_prefix(tmp_path)
    assert missing_environment({}, prefix) == {
        'FASTRTPS_DEFAULT_PROFILES_FILE': str(fastdds_profile()),
        'AMENT_PREFIX_PATH': str(prefix),
        'HOME': str(prefix),
    }


def test_what_is_set_stays(tmp_path):
    prefix = wheel_prefix(tmp_path)
    environment = {'AMENT_PREFIX_PATH': str(prefix), 'HOME': '/root'}
    missing = missing_environment(environment, prefix)
    assert set(missing) == {'FASTRTPS_DEFAULT_PROFILES_FILE'}


def test_a_workspace_over_wheels_finds_both(tmp_path):
    prefix = wheel_prefix(tmp_path)
    missing = missing_environment({'AMENT_PREFIX_PATH': '/ws/install'}, prefix)
    assert missing['AMENT_PREFIX_PATH'] == f'/ws/install:{prefix}'


def test_apt_ros_is_left_alone(tmp_path):
    missing = missing_environment({'AMENT_PREFIX_PATH': '/opt/ros/jazzy', 'HOME': ''}, tmp_path)
    assert set(missing) == {'FASTRTPS_DEFAULT_PROFILES_FILE'}


@pytest.mark.parametrize(
    'library', ['lib/libfastdds.so', 'lib/aarch64-linux-gnu/libfastdds.so.3.2']
)
@pytest.mark.parametrize('place', ['prefix', 'ament'])
def test_fast_dds_3_reads_another_variable(tmp_path, place, library):
    kilted, empty = tmp_path / 'kilted', tmp_path / 'empty'
    (kilted / library).parent.mkdir(parents=True)
    (kilted / library).touch()
    found = missing_environment(
        {'HOME': '', 'AMENT_PREFIX_PATH': '' if place == 'prefix' else f'/ws:{kilted}'},
        kilted if place == 'prefix' else empty,
    )
    assert found == {'FASTDDS_DEFAULT_PROFILES_FILE': str(fastdds_profile())}


def test_launched_processes_get_the_profile_that_a_command_has():
    own = launched_environment({}).items() & missing_environment({}).items()
    assert [value for _, value in own] == [str(fastdds_profile())]


@pytest.mark.parametrize('variable', USERS_TRANSPORT)
def test_a_users_transport_is_kept(tmp_path, variable):
    missing = missing_environment({variable: ''}, tmp_path)
    assert set(missing) == {'HOME'}


def test_one_raw_image_fits_many_times_into_shared_memory():
    (segment,) = ElementTree.parse(fastdds_profile()).iter(f'{NAMESPACE}segment_size')
    raw_720p = 1280 * 720 * 3
    assert int(segment.text) >= 10 * raw_720p
