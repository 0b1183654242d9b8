# What the kernel's scheduler is told of this thread (sched_setattr(2)). Threads that it starts inherit it.
