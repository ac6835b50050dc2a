"""What lies on disk or in a message, read and written: videos, bags, pictures, sound, JSON, YAML.

Nothing here knows ROS or the pipeline.
"""
