# The robot's way: ROS 2 Jazzy from apt, a virtual environment that sees it, colcon. No machine that
# this was written on could build it: the pip and colcon commands were run there, the image was not.
#   docker build -t cs3_ros .
#   docker run --rm --net=host --ipc=host cs3_ros
# It runs as root. Fast DDS passes messages of one machine through shared memory, which two user ids do
# not share: with ROS nodes of another user topics are listed and nothing arrives. Then run those as
# root, too, add --user "$(id -u):$(id -g)" -e HOME=/tmp here, or set
# FASTDDS_BUILTIN_TRANSPORTS=UDPv4 on both sides.
FROM ros:jazzy

# libgl1 and libglib2.0-0: the OpenCV that MediaPipe brings links against them
RUN apt-get update && apt-get install -y --no-install-recommends \
        python3-venv python3-colcon-common-extensions \
        ros-jazzy-audio-common-msgs ros-jazzy-vision-msgs \
        ros-jazzy-rosbag2-storage-mcap libportaudio2 libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /ws
COPY . src/cs3_ros

# python3 -m colcon: the build then runs on the Python of the activated environment
RUN python3 -m venv --system-site-packages .venv && touch .venv/COLCON_IGNORE \
    && . .venv/bin/activate \
    && pip install --no-cache-dir -c src/cs3_ros/requirements/constraints.txt \
        -e 'src/cs3_ros[lite]' \
    && . /opt/ros/jazzy/setup.sh \
    && python3 -m colcon build --packages-select cs3_ros

RUN printf '%s\n' '#!/bin/bash' 'set -e' \
        'source /ws/.venv/bin/activate' 'source /ws/install/setup.bash' 'exec "$@"' \
        > /entrypoint.sh && chmod +x /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
# docker stop sends what Ctrl-C does: ros2 launch leaves its processes behind on SIGTERM
STOPSIGNAL SIGINT
CMD ["ros2", "launch", "cs3_ros", "cs3.launch.py"]
