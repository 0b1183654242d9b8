"""Counts of what the compiled core holds: all zero when every reactor of the process has been shut down, and every
index of leases emptied or gone."""


def held_now():
    """Kind of handle → how many are held in this process."""
    return {
        "connections": held.connections,
        "head_buffers": held.head_buffers,
        "outputs": held.outputs,
        "descriptors": held.descriptors,
        "queued_slots": held.queued_slots,
        "leases": held.leases,
        "leased_extents": held.leased_extents,
        "kept_heads": held.kept_heads,
        "hit_records": held.hit_records,
        "lent_origins": held.lent_origins,
        "kept_answers": held.kept_answers,
    }
