//! HTTP/1.1 by hand: the client and the servers cost next to nothing, so that what is measured is the program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// One connection that is kept.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// 200, 503...
    pub status: u16,
    /// The whole of it.
    pub body: Vec<u8>,
    /// From the first byte sent to the last received.
    pub seconds: f64,
}

impl Client {
    /// Connects to `HOST:PORT`.
    pub fn connect(address: &str) -> Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Client { stream: BufReader::with_capacity(256 * 1024, stream), host: address.to_owned() })
    }

    /// GET, as text and uncompressed, on the kept connection.
    pub fn get(&mut self, path: &str) -> Result<Answer> {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/plain\r\nAccept-Encoding: identity\r\n\r\n",
            self.host
        ))
    }

    /// POST of JSON on the kept connection.
    pub fn post(&mut self, path: &str, body: &str) -> Result<Answer> {
        let head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json", self.host);
        self.ask(&format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    fn ask(&mut self, request: &str) -> Result<Answer> {
        let began = Instant::now();
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (first, length) = read_head(&mut self.stream)?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).with_context(|| format!("no status: {first}"))?;
        let mut body = Vec::new();
        match length {
            Length::Bytes(bytes) => {
                body.resize(bytes, 0);
                self.stream.read_exact(&mut body)?;
            }
            Length::Chunked => read_chunks(&mut self.stream, &mut body)?,
        }
        Ok(Answer { status, body, seconds: began.elapsed().as_secs_f64() })
    }
}

/// How the end of a body is known.
pub enum Length {
    Bytes(usize),
    Chunked,
}

/// The first line of a request or an answer, and how long its body is.
pub fn read_head(stream: &mut impl BufRead) -> Result<(String, Length)> {
    let mut first = String::new();
    if stream.read_line(&mut first)? == 0 {
        bail!("the connection was closed");
    }
    let mut length = Length::Bytes(0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok((first.trim_end().to_owned(), length)) };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Length::Bytes(value.trim().parse()?),
            "transfer-encoding" => length = Length::Chunked,
            _ => {}
        }
    }
}

pub fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> Result<()> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16)?;
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..])?;
        stream.read_line(&mut String::new())?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// A server that answers every request with the same bytes: the limit of /metrics. Gives its address; lives with the process.
pub fn serve_bytes(body: Arc<Vec<u8>>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            let mut stream = BufReader::new(stream);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
            while read_head(&mut stream).is_ok() {
                // One buffer and one write: a memcpy and TCP.
                let answer = [head.as_bytes(), &body].concat();
                if stream.get_mut().write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    Ok(address)
}

/// A webhook receiver: answers 200 and hands over each body with the instant at which it was complete.
#[derive(Debug)]
pub struct Hook {
    /// For a config.
    pub url: String,
    received: Receiver<(Instant, String)>,
}

impl Hook {
    /// Listens; lives with the process.
    pub fn start() -> Result<Hook> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let (sender, received) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || receive(stream, &sender));
            }
        });
        Ok(Hook { url, received })
    }

    /// When the first message came that contains `text`; those before it are thrown away.
    pub fn wait_for(&self, text: &str, timeout: Duration) -> Result<Instant> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (at, body) =
                self.received.recv_timeout(left).with_context(|| format!("no webhook with `{text}` in {timeout:?}"))?;
            if body.contains(text) {
                return Ok(at);
            }
        }
    }
}

fn receive(stream: TcpStream, sender: &Sender<(Instant, String)>) {
    let mut stream = BufReader::new(stream);
    while let Ok((_, length)) = read_head(&mut stream) {
        let mut body = Vec::new();
        let read = match length {
            Length::Bytes(bytes) => {
                body.resize(bytes, 0);
                stream.read_exact(&mut body).map_err(anyhow::Error::from)
            }
            Length::Chunked => read_chunks(&mut stream, &mut body),
        };
        let delivered = sender.send((Instant::now(), String::from_utf8_lossy(&body).into_owned()));
        let answered = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        if read.is_err() || delivered.is_err() || answered.is_err() {
            return;
        }
    }
}
