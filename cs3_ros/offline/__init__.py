"""Files and bags without ROS: a recording through stream and pipeline, and what it leaves on disk.

Uses trigger, bundles, files and drawing; used by nothing but the command line and benchmarks.
"""
