//! A server on this machine's loopback with which dom0's cards exchange bytes.
//!
//! A connection begins with a line: `get COUNT` is answered with COUNT bytes, `put COUNT` is followed by COUNT bytes,
//! and answered with a line that holds their SHA-256. What went either way is kept, to be compared with what dom0 says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// Bytes that are sent or taken at once.
const PIECE: usize = 64 << 10;

/// Which way bytes went, seen from dom0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Get,
    Put,
}

/// Bytes that went one way in one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    pub way: Way,
    pub bytes: u64,
    /// Their SHA-256 in hexadecimal digits.
    pub sum: String,
}

/// The server; it lives as long as this process.
pub struct Exchange {
    pub port: u16,
    passed: Arc<Mutex<Vec<Passed>>>,
}

impl Exchange {
    /// Starts it on a port that is free.
    ///
    /// **Errors:** there is none.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("this machine has no free port")?;
        let port = listener.local_addr().context("a port without a number")?.port();
        let passed = Arc::new(Mutex::new(Vec::new()));
        let kept = passed.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                // One that breaks off is missed in the account.
                std::thread::spawn(move || serve(&stream, &kept));
            }
        });
        Ok(Self { port, passed })
    }

    /// Returns what passed so far.
    #[must_use]
    pub fn passed(&self) -> Vec<Passed> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(stream: &TcpStream, kept: &Mutex<Vec<Passed>>) -> Result<()> {
    let keep = |passed| kept.lock().unwrap_or_else(PoisonError::into_inner).push(passed);
    let mut input = BufReader::new(stream);
    let mut wish = String::new();
    input.read_line(&mut wish).context("no wish came")?;
    let count = |text: &str| text.trim().parse::<u64>().context("a count that is no number");
    match wish.split_once(' ') {
        Some(("get", text)) => keep(send(stream, count(text)?)?),
        Some(("put", text)) => {
            let passed = take(&mut input, count(text)?)?;
            let answer = format!("{}\n", passed.sum);
            keep(passed);
            let mut stream = stream;
            stream.write_all(answer.as_bytes()).context("the sum was not taken")?;
        }
        _ => bail!("an unknown wish: {wish}"),
    }
    Ok(())
}

fn send(mut stream: &TcpStream, bytes: u64) -> Result<Passed> {
    let mut dice = u64::from(stream.peer_addr().context("a connection from nowhere")?.port()) << 32 | 1;
    let mut hash = Sha256::new();
    let mut left = bytes;
    let mut piece = vec![0; PIECE];
    while left > 0 {
        piece.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&rolled(&mut dice).to_le_bytes()));
        let now = piece.get(..usize::try_from(left).unwrap_or(PIECE).min(PIECE)).unwrap_or_default();
        stream.write_all(now).context("not all was taken")?;
        hash.update(now);
        left = left.saturating_sub(now.len() as u64);
    }
    Ok(Passed { way: Way::Get, bytes, sum: spelled(hash) })
}

fn take(input: &mut impl Read, bytes: u64) -> Result<Passed> {
    let mut hash = Sha256::new();
    let mut left = bytes;
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let count = input.read(piece.get_mut(..room).unwrap_or_default()).context("not all came")?;
        if count == 0 {
            bail!("it ended {left} bytes before its end");
        }
        hash.update(piece.get(..count).unwrap_or_default());
        left = left.saturating_sub(count as u64);
    }
    Ok(Passed { way: Way::Put, bytes, sum: spelled(hash) })
}

/// Returns the next number of a sequence that does not repeat in any run. **Source:** Marsaglia, "Xorshift RNGs", 2003.
fn rolled(dice: &mut u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    *dice
}

fn spelled(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected(exchange: &Exchange, wish: &str) -> TcpStream {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, exchange.port)).unwrap();
        stream.write_all(wish.as_bytes()).unwrap();
        stream
    }

    #[test]
    fn what_was_got_has_the_sum_that_is_kept_and_is_not_all_alike() {
        let exchange = Exchange::start().unwrap();
        let mut got = Vec::new();
        connected(&exchange, "get 100001\n").read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), 100_001);
        assert_ne!(got[..50_000], got[50_000..100_000]);
        let sum = spelled(Sha256::new().chain_update(&got));
        assert_eq!(exchange.passed(), [Passed { way: Way::Get, bytes: 100_001, sum }]);
    }

    #[test]
    fn what_was_put_is_answered_with_its_sum() {
        let exchange = Exchange::start().unwrap();
        let mut stream = connected(&exchange, "put 3\nabc");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n");
        assert_eq!(exchange.passed()[0].way, Way::Put);
    }

    #[test]
    fn a_connection_that_breaks_off_is_not_counted() {
        let exchange = Exchange::start().unwrap();
        drop(connected(&exchange, "put 100\nabc"));
        let mut rest = Vec::new();
        connected(&exchange, "fetch\n").read_to_end(&mut rest).unwrap();
        assert_eq!((rest.len(), exchange.passed()), (0, vec![]));
    }
}
