//! What a loop that waits for another CPU executes in each turn.

/// Executes one turn of a waiting loop. `turns` counts the turns so far; the loop keeps it.
///
/// On a machine it is the PAUSE instruction. On a host, where the thread that is waited for may not be running, it
/// yields the processor now and then. Under loom it tells the model that this thread cannot go on by itself.
#[inline]
pub fn spin(turns: &mut u32) {
    *turns = turns.wrapping_add(1);
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    {
        #[cfg(not(target_os = "none"))]
        if turns.is_multiple_of(64) {
            std::thread::yield_now();
            return;
        }
        core::hint::spin_loop();
    }
}
