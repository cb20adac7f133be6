"""The main job on one machine: a broker, a coordinator, three agents, all real.

Only the hardware is played: each agent stretches its inferences as a slower device would.
"""
