//! Small damage to bytes: what a broken or hostile maker of tables might write.

use fastrand::Rng;

/// Numbers that sit at the edges of types, pages and address spaces.
const EDGES: [u64; 16] = [
    0,
    1,
    7,
    8,
    0x7f,
    0xff,
    0xfff,
    0x1000,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x000f_ffff_ffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_f000,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

/// Returns a number from the edges, near one, or any.
pub fn number(dice: &mut Rng) -> u64 {
    let edge = EDGES.get(dice.usize(..EDGES.len())).copied().unwrap_or(0);
    match dice.u8(..4) {
        0 => edge,
        1 => edge.wrapping_add(dice.u64(..16)).wrapping_sub(8),
        2 => dice.u64(..) >> dice.u32(..64),
        _ => dice.u64(..0x4000),
    }
}

/// Damages `bytes` in one to eight places; their length stays.
pub fn damage(dice: &mut Rng, bytes: &mut [u8]) {
    for _ in 0..dice.u8(1..=8) {
        damage_once(dice, bytes);
    }
}

fn damage_once(dice: &mut Rng, bytes: &mut [u8]) {
    if bytes.is_empty() {
        return;
    }
    let at = dice.usize(..bytes.len());
    let tail = bytes.get_mut(at..).unwrap_or_default();
    match dice.u8(..5) {
        0 => tail.iter_mut().take(1).for_each(|byte| *byte ^= 1 << dice.u8(..8)),
        1 => tail.iter_mut().take(1).for_each(|byte| *byte = dice.u8(..)),
        2 => overwrite(tail, &number(dice).to_le_bytes()),
        3 => overwrite(tail, &(number(dice) as u32).to_le_bytes()),
        _ => {
            let from = dice.usize(..bytes.len());
            let length = dice.usize(..64).min(bytes.len() - from).min(bytes.len() - at);
            bytes.copy_within(from..from + length, at);
        }
    }
}

fn overwrite(place: &mut [u8], with: &[u8]) {
    place.iter_mut().zip(with).for_each(|(byte, new)| *byte = *new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_changes_bytes_and_keeps_their_length() {
        let mut changed = 0;
        for seed in 0..200 {
            let mut bytes: Vec<u8> = (0..=255).collect();
            let before = bytes.clone();
            damage(&mut Rng::with_seed(seed), &mut bytes);
            assert_eq!(bytes.len(), before.len());
            changed += usize::from(bytes != before);
        }
        assert!(changed > 190, "{changed} of 200 inputs changed");
    }

    #[test]
    fn nothing_to_damage_is_no_fault() {
        for seed in 0..50 {
            let (mut empty, mut full) = (Rng::with_seed(seed), Rng::with_seed(seed));
            let mut nothing: [u8; 0] = [];
            damage(&mut empty, &mut nothing);
            assert_eq!(nothing, [0_u8; 0]);
            // It throws the die that says how often, and no other: there is no place to choose.
            full.u8(1..=8);
            assert_eq!(empty.get_seed(), full.get_seed());
        }
    }
}
