//! The console: lines with levels, to the serial ports and into the ring that `xl dmesg` reads.

mod debug_port;
pub mod input;
mod rate;
mod ring;
pub mod serial;

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use arrayvec::ArrayVec;
use xenolith_bootinfo::{ComPort, ConsoleTarget, Options, Thresholds, Timestamps};
use xenolith_hal::LogLevel;
use xenolith_sync::{Once, SpinLock, rank};

use self::serial::SerialPort;
use crate::bare::base::clock;
use crate::plain::timestamp::Timestamp;

pub use ring::{copy_from as copy_from_ring, grow as grow_ring};

/// What stands before each line of the hypervisor's.
const PREFIX: &str = "(XEN) ";
/// How often a panicking CPU looks for the console to become free before it writes all the same.
const PANIC_PATIENCE: u32 = 10_000_000;

static PORTS: Once<ArrayVec<SerialPort, 2>> = Once::new();
/// Keeps lines of several CPUs apart. The value says whether the cursor stands at the start of a line.
static LINE: SpinLock<bool, rank::Console> = SpinLock::new(true);
static SYNCHRONOUS: AtomicBool = AtomicBool::new(false);
/// Set while the machine goes down: the console no longer waits for anyone.
static FORCED: AtomicBool = AtomicBool::new(false);
static TIMESTAMPS: Once<Timestamps> = Once::new();
/// Nanoseconds since 1970 at boot; 0 while the date is not known.
static DATE_AT_BOOT: AtomicU64 = AtomicU64::new(0);
static GUESTS_TO_RING: AtomicBool = AtomicBool::new(false);
static LOG: LevelPair = LevelPair::new(Thresholds::HYPERVISOR);
static GUEST_LOG: LevelPair = LevelPair::new(Thresholds::GUEST);

/// Thresholds that may change while others read them.
struct LevelPair {
    always: AtomicU8,
    limited: AtomicU8,
}

impl LevelPair {
    const fn new(thresholds: Thresholds) -> Self {
        Self { always: AtomicU8::new(thresholds.always), limited: AtomicU8::new(thresholds.limited) }
    }

    fn set(&self, thresholds: Thresholds) {
        self.always.store(thresholds.always, Ordering::Relaxed);
        self.limited.store(thresholds.limited, Ordering::Relaxed);
    }

    fn admits(&self, level: LogLevel) -> bool {
        let level = level as u8;
        level < self.always.load(Ordering::Relaxed)
            || (level < self.limited.load(Ordering::Relaxed) && rate::admits_one_more())
    }
}

/// Sets the console up as the command line says. Before it, nothing is shown (the ring keeps it all the same).
#[expect(clippy::disallowed_methods, reason = "an array, with a place for each line that there can be")]
pub fn configure(options: &Options) {
    let mut ports = ArrayVec::new();
    for target in &options.consoles {
        match target {
            ConsoleTarget::Com1 => ports.extend(open(options.com1)),
            ConsoleTarget::Com2 => ports.extend(open(options.com2)),
            // There is no driver for the screen.
            ConsoleTarget::Vga => {}
        }
    }
    let _ = PORTS.set(ports);
    // A guest of another hypervisor may have no port, and that is the place where its first words are looked for.
    if self::ports().is_empty() && !options.consoles.is_empty() && cpu_is_virtual() {
        debug_port::open();
    }
    let _ = TIMESTAMPS.set(options.timestamps);
    GUESTS_TO_RING.store(options.guests_to_ring, Ordering::Relaxed);
    SYNCHRONOUS.store(options.sync_console, Ordering::Relaxed);
    LOG.set(options.log);
    GUEST_LOG.set(options.guest_log);
    input::configure(options);
}

/// Sets the date at boot, for the time stamps of lines.
pub fn set_date_at_boot(seconds: u64, nanoseconds: u32) {
    let at_boot = seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds.into());
    DATE_AT_BOOT.store(at_boot, Ordering::Relaxed);
}

/// Opens the debug port where no serial port shows the console.
pub fn speak_up() {
    if ports().is_empty() {
        debug_port::open();
    }
}

/// Returns true where CPUID says that a hypervisor runs this CPU.
fn cpu_is_virtual() -> bool {
    core::arch::x86_64::__cpuid(1).ecx & 1 << 31 != 0
}

fn open(settings: ComPort) -> Option<SerialPort> {
    let port = SerialPort::at(settings.io_base);
    if !port.is_present() {
        return None;
    }
    port.configure(settings.baud, settings.line_control);
    Some(port)
}

/// Returns the ports that show the console.
#[must_use]
pub fn ports() -> &'static [SerialPort] {
    PORTS.get().map_or(&[], |ports| ports.as_slice())
}

/// Writes a line of the hypervisor's own, if its level is shown.
pub fn log(level: LogLevel, line: fmt::Arguments<'_>) {
    if LOG.admits(level) {
        print(line);
    }
}

/// Writes a line that a guest can cause, if its level is shown and the rate allows it.
pub fn log_for_guest(level: LogLevel, line: fmt::Arguments<'_>) {
    if GUEST_LOG.admits(level) {
        print(line);
    }
}

/// Writes lines whatever the levels are.
pub fn print(text: fmt::Arguments<'_>) {
    with_console(|at_start| {
        let mut writer = LineWriter { at_start };
        let _ = writer.write_fmt(text);
        let _ = writer.write_str("\n");
        drain_if_synchronous();
    });
}

/// Writes a guest's bytes unchanged, under one hold of the console's lock: at most a line. They do not go into the ring,
/// which is the hypervisor's, unless `console_to_ring` says so.
pub fn write_raw(bytes: &[u8]) {
    with_console(|at_start| {
        if GUESTS_TO_RING.load(Ordering::Relaxed) {
            ring::append(bytes);
        }
        ports().iter().for_each(|port| port.send(bytes));
        *at_start = bytes.last().map_or(*at_start, |last| *last == b'\n');
        drain_if_synchronous();
    });
}

/// Makes the console wait for no lock any more: the machine is going down.
pub fn force() {
    FORCED.store(true, Ordering::Relaxed);
}

/// Waits until everything written has left the ports.
pub fn drain() {
    ports().iter().for_each(|port| port.drain());
}

fn drain_if_synchronous() {
    if SYNCHRONOUS.load(Ordering::Relaxed) {
        drain();
    }
}

fn with_console(write: impl FnOnce(&mut bool)) {
    if !FORCED.load(Ordering::Relaxed) {
        write(&mut LINE.lock());
        return;
    }
    for _ in 0..PANIC_PATIENCE {
        if let Some(mut line) = LINE.try_lock() {
            write(&mut line);
            return;
        }
        core::hint::spin_loop();
    }
    // Whoever holds it will not give it back: mixed lines are better than none.
    write(&mut true);
}

/// Returns the time stamp of a line that begins now.
fn timestamp() -> Timestamp {
    let ticks = clock::ticks();
    Timestamp {
        form: TIMESTAMPS.get().copied().unwrap_or_default(),
        ticks,
        since_boot: clock::nanoseconds_at(ticks),
        at_boot: DATE_AT_BOOT.load(Ordering::Relaxed),
    }
}

/// Puts the prefix before each line and sends everything to the ports and the ring.
struct LineWriter<'a> {
    at_start: &'a mut bool,
}

impl LineWriter<'_> {
    fn put(&mut self, text: &str) {
        ports().iter().for_each(|port| port.send(text.as_bytes()));
        debug_port::write(text);
        ring::append(text.as_bytes());
    }
}

/// Writes what stands before a line, which has no lines in it.
struct StampWriter<'a, 'b>(&'a mut LineWriter<'b>);

impl Write for StampWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put(text);
        Ok(())
    }
}

impl Write for LineWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive('\n') {
            if *self.at_start {
                self.put(PREFIX);
                let _ = write!(StampWriter(self), "{}", timestamp());
            }
            self.put(piece);
            *self.at_start = piece.ends_with('\n');
        }
        Ok(())
    }
}

/// Writes a line whatever the levels are.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => { $crate::bare::console::print(core::format_args!($($text)*)) };
}

/// Writes a line of the hypervisor's own with a level: `log!(Warning, "...")`.
#[macro_export]
macro_rules! log {
    ($level:ident, $($text:tt)*) => {
        $crate::bare::console::log($crate::bare::console::Level::$level, core::format_args!($($text)*))
    };
}

/// The levels, under the name that [`log!`] uses.
pub use xenolith_hal::LogLevel as Level;
