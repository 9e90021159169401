//! The nested page tables and those of devices that follow them: pages of all sizes are mapped, unmapped and taken
//! away, CPUs are inside meanwhile, writes are tracked and told, and memory for tables is refused at random. A plain map of
//! ranges says what must be there, and walks by the formats of the CPU and of the IOMMU see nothing else.

mod model;
mod stage;
mod supply;
mod walk;

use fastrand::Rng;
use xenolith_hal::CpuId;

use stage::Stage;

/// Steps of one input.
const STEPS: std::ops::Range<u32> = 50..400;

/// Plays one input, and returns how many changes were made.
pub fn run(dice: &mut Rng) -> u64 {
    let mut stage = Stage::new(dice);
    let steps = stage.dice.u32(STEPS);
    for _ in 0..steps {
        match stage.dice.u8(..48) {
            0..=9 => stage.map_anything(),
            10..=13 => stage.map_back(),
            14..=22 => stage.unmap(),
            23..=25 => stage.take_next(),
            26 => stage.fill(),
            27 | 28 => stage.enter(CpuId(0)),
            29 => stage.enter(CpuId(1)),
            30 => stage.leave(CpuId(0)),
            31 => stage.leave(CpuId(1)),
            32 => stage.track(),
            33..=43 => stage.write(),
            _ => stage.tell(),
        }
        stage.check();
    }
    u64::from(steps) + stage.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_split_and_join_pages_and_see_memory_refused() {
        let (mut joined, mut split, mut refused) = (0, 0, 0);
        for seed in 0..60 {
            let mut dice = Rng::with_seed(seed);
            let mut stage = Stage::new(&mut dice);
            for _ in 0..200 {
                match stage.dice.u8(..8) {
                    0..=2 => stage.map_anything(),
                    3 | 4 => stage.map_back(),
                    5 if stage.dice.u8(..8) == 0 => stage.fill(),
                    _ => stage.unmap(),
                }
                stage.check();
            }
            joined += stage.joined;
            split += stage.split;
            refused += stage.refused;
            stage.end();
        }
        assert!(joined > 20 && split > 100 && refused > 20, "{joined} joined, {split} split, {refused} refused");
    }
}
