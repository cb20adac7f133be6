"""The words that devices and coordinators share: topics, messages, manifests, codec."""
