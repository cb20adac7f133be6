"""The pruner: a library that edits ``.tflite`` files. No MQTT, no database.

read -> graph -> groups -> plan (saliency) -> reconstruct -> apply -> measure -> write
"""
