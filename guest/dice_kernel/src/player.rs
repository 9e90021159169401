//! The twin: throws the dice and compares, until it is told to stop.

use xenolith_guest_kit::console::Line;

use crate::case::{Case, Verdict};
use crate::dice::Dice;
use crate::forms::FORMS;
use crate::place;
use crate::shape::{Choice, Shape};
use crate::{Orders, mail, run, segments};

/// How many cases share an instruction, with other registers, flags and memory.
const STATES: u64 = 4;
/// How many cases are between two letters to domain 0.
const BETWEEN: u64 = 1024;
/// How many differences end the run.
const MOST_DIFFERENCES: u64 = 20;

/// Runs cases.
pub fn play(orders: &Orders<'_>) -> ! {
    set_up();
    let mut refused = [0_u64; FORMS.len()];
    let mut differing = 0;
    let choice = Choice { only: orders.only, splits: orders.splits, faults: orders.faults };
    let mut case = orders.first;
    let mut known = None;
    let cases = loop {
        let (shape, is_new) = match known {
            Some(shape) if !case.is_multiple_of(STATES) => (shape, false),
            _ => (shape(orders.seed, case, choice), true),
        };
        known = Some(shape);
        let now = Case::new(&mut Dice::new(orders.seed, case), &shape, case % 2 == 1);
        if is_new {
            now.put_code();
        }
        let mut line = Line::new();
        match now.run(&mut line) {
            Verdict::Same => {}
            Verdict::Refused => refused[shape.form] += 1,
            Verdict::Differs => {
                differing += 1;
                mail::line(format_args!("DIFFERS --seed {} --case {case}: {}", orders.seed, line.text()));
            }
        }
        case += 1;
        let done = case - orders.first;
        if done.is_multiple_of(BETWEEN) {
            check_rest(orders.seed, case);
            if !mail::progress(done, differing) {
                break done;
            }
        }
        if done == orders.cases || differing == MOST_DIFFERENCES {
            break done;
        }
    };
    for (form, count) in FORMS.iter().zip(refused).filter(|(_, count)| *count != 0) {
        mail::line(format_args!("REFUSED {}: {count}", form.name));
    }
    mail::end(cases, differing);
    loop {
        core::hint::spin_loop();
    }
}

fn shape(seed: u64, case: u64, choice: Choice<'_>) -> Shape {
    Shape::new(&mut Dice::new(!seed, case / STATES), choice)
}

fn set_up() {
    segments::set_up();
    run::set_up();
    place::set_up();
}

/// Looks at the memory in which no instruction should write.
fn check_rest(seed: u64, case: u64) {
    if !place::all_is_equal() {
        mail::line(format_args!("STRAY --seed {seed}: a case before {case} wrote elsewhere"));
        place::make_equal();
    }
}
