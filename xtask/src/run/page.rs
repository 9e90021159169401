//! Fetches a page by HTTP from this machine's loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// More than this of a page is not read, in bytes.
const MOST: u64 = 1 << 20;

/// A page that was served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What the server says of itself.
    pub server: String,
    pub body: String,
}

/// Fetches `/` from the port until it is served or the time is up.
///
/// The emulator takes connections before the guest does, so an attempt may be refused late, or say nothing.
///
/// **Errors:** it was not served in time; the message says what came of the last attempt.
pub fn fetch(port: u16, until: Instant) -> Result<Page> {
    loop {
        let error = match attempt(port) {
            Ok(page) => return Ok(page),
            Err(error) => error,
        };
        if Instant::now() >= until {
            return Err(error.context(format!("http://127.0.0.1:{port}/ did not answer")));
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

fn attempt(port: u16) -> Result<Page> {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let mut stream = TcpStream::connect_timeout(&address.into(), ATTEMPT).context("no connection")?;
    stream.set_read_timeout(Some(ATTEMPT)).context("no time limit for reading")?;
    stream.set_write_timeout(Some(ATTEMPT)).context("no time limit for writing")?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").context("the request was not taken")?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).context("no whole answer")?;
    read(&String::from_utf8_lossy(&answer))
}

/// Reads an answer: its status must be 200.
fn read(answer: &str) -> Result<Page> {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("an empty or broken answer") };
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("the answer was \"{status}\"");
    }
    let server = head.lines().find_map(|line| line.strip_prefix("Server: ")).unwrap_or_default();
    Ok(Page { server: server.to_owned(), body: body.to_owned() })
}

/// Returns the port to forward: the one of the command line, or `usual`, or any that is free.
///
/// **Errors:** the port that was asked for is taken.
pub fn port(asked: Option<u16>, usual: u16) -> Result<u16> {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|taken| taken.local_addr());
    match asked {
        Some(port) => free(port).with_context(|| format!("port {port} of this machine is taken")),
        None => free(usual).or_else(|_| free(0)).context("this machine has no free port"),
    }
    .map(|address| address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_the_servers_name_are_read() {
        let page = read("HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\r\n<p>hello\n").unwrap();
        assert_eq!(page, Page { server: "nginx/1.22.1".into(), body: "<p>hello\n".into() });
    }

    #[test]
    fn another_status_and_silence_are_faults() {
        assert!(read("HTTP/1.1 502 Bad Gateway\r\n\r\n").unwrap_err().to_string().contains("502"));
        assert!(read("").is_err());
    }

    #[test]
    fn a_page_is_fetched_from_a_server_that_answers_at_the_second_attempt() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        let serving = std::thread::spawn(move || {
            drop(server.accept().unwrap());
            let (mut stream, _) = server.accept().unwrap();
            let _ = stream.read(&mut [0; 512]).unwrap();
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhere").unwrap();
        });
        assert_eq!(fetch(port, Instant::now() + Duration::from_secs(20)).unwrap().body, "here");
        serving.join().unwrap();
    }

    #[test]
    fn a_port_that_is_taken_is_refused_when_asked_for_and_passed_over_otherwise() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = taken.local_addr().unwrap().port();
        assert!(port(Some(number), 0).is_err());
        assert_ne!(port(None, number).unwrap(), number);
    }
}
