"""Pictures and tensors: the network, its training and its measuring. No HTTP, no queue, no Reddit."""
