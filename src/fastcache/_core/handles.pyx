"""Counts of what the compiled core holds: all zero when every reactor of the process has been shut down."""


def held_now():
    """Kind of handle → how many are held in this process."""
    return {
        "connections": held.connections,
        "head_buffers": held.head_buffers,
        "outputs": held.outputs,
        "descriptors": held.descriptors,
        "queued_slots": held.queued_slots,
    }
