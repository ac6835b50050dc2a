# The robot's way: ROS 2 Jazzy from apt, a virtual environment that sees it, colcon.
#   docker build -t cs3_ros .
#   docker run --rm --net=host --ipc=host cs3_ros
FROM ros:jazzy

RUN apt-get update && apt-get install -y --no-install-recommends \
        python3-venv python3-colcon-common-extensions \
        ros-jazzy-audio-common-msgs ros-jazzy-vision-msgs \
        ros-jazzy-rosbag2-storage-mcap libportaudio2 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /ws
COPY . src/cs3_ros

# setup.cfg makes colcon's scripts use the Python of the activated environment
RUN python3 -m venv --system-site-packages venv \
    && . venv/bin/activate \
    && pip install --no-cache-dir -c src/cs3_ros/requirements/constraints.txt \
        -e 'src/cs3_ros[lite]' \
    && . /opt/ros/jazzy/setup.sh \
    && colcon build --packages-select cs3_ros

RUN printf '%s\n' '#!/bin/bash' 'set -e' \
        'source /ws/venv/bin/activate' 'source /ws/install/setup.bash' 'exec "$@"' \
        > /entrypoint.sh && chmod +x /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "cs3_ros", "cs3.launch.py"]
