"""Points in space: masks and a registered depth image to contacts and extents. No ROS."""
