//! A receiver of notifications that behaves badly by script, and remembers what it was sent and when.

use crate::ground::stable_port;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[derive(Clone, Debug, PartialEq)]
pub enum Behaviour {
    /// Answers with this status and body.
    Answer(u16, &'static str),
    /// 429 with `Retry-After: n`.
    Busy(u32),
    /// Reads the request and never answers.
    Hang,
    /// Resets the connection once the request has arrived.
    Reset,
    /// 307 to this path of the same server.
    Redirect(&'static str),
    /// Answers with this status and all that was sent, as a careless server does in its errors.
    Echo(u16),
    /// Answers with this status and a megabyte.
    Flood(u16),
}

pub const OK: Behaviour = Behaviour::Answer(200, "ok");

/// One request, whatever came of it.
#[derive(Clone, Debug)]
pub struct Request {
    pub at: Instant,
    pub path: String,
    /// The request line and the headers.
    pub head: String,
    pub body: String,
    pub answered: Behaviour,
}

/// How requests are answered whose path and body hold all of these texts: one after another, the last one for ever.
struct Rule {
    needles: Vec<String>,
    script: VecDeque<Behaviour>,
}

#[derive(Default)]
struct Shared {
    script: Mutex<VecDeque<Behaviour>>,
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<Request>>,
    closing: AtomicBool,
}

pub struct Receiver {
    pub port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Behaves as scripted, request by request, and answers 200 `ok` after that.
    pub fn start(script: &[Behaviour]) -> Self {
        let mut receiver = Self { port: stable_port(), shared: Arc::default(), acceptor: None };
        receiver.script(script);
        receiver.up();
        receiver
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn script(&self, script: &[Behaviour]) {
        *self.shared.script.lock().unwrap() = script.iter().cloned().collect();
    }

    /// Behaves so to requests whose path and body hold all of these texts, one after another, and the last one for ever.
    /// What was said first counts.
    pub fn when(&self, needles: &[&str], script: &[Behaviour]) {
        let needles = needles.iter().map(|needle| (*needle).to_owned()).collect();
        self.shared.rules.lock().unwrap().push(Rule { needles, script: script.iter().cloned().collect() });
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The requests that were answered with a 200 and `ok`; Slack says with another body that it took nothing.
    pub fn accepted(&self) -> Vec<Request> {
        let ok = |request: &Request| request.answered == OK;
        self.requests().into_iter().filter(ok).collect()
    }

    /// Nobody listens on the port any more.
    pub fn down(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            TcpStream::connect(("127.0.0.1", self.port)).ok();
            acceptor.join().unwrap();
        }
    }

    /// Listens again on the same port.
    pub fn up(&mut self) {
        self.shared.closing.store(false, Ordering::SeqCst);
        let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        let shared = Arc::clone(&self.shared);
        self.acceptor = Some(std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.closing.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.serve(stream));
            }
        }));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.down();
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut text = Vec::new();
        let mut buffer = vec![0; 1 << 20];
        let began = Instant::now();
        let (head, length) = loop {
            // Only looked at: closing a socket that holds unread bytes is what makes the kernel send a reset.
            let seen = stream.peek(&mut buffer).ok()?;
            text.clear();
            text.extend_from_slice(&buffer[..seen]);
            if let Some(found) = measure(&text) {
                break found;
            }
            if seen == 0 || began.elapsed() > Duration::from_secs(10) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let path = String::from_utf8_lossy(&text).split(' ').nth(1).unwrap_or("").to_owned();
        let body = String::from_utf8_lossy(&text[head..head + length]).into_owned();
        let behaviour = self.behaviour(&format!("{path} {body}"));
        let all = String::from_utf8_lossy(&text[..head]).into_owned();
        let request = Request { at: Instant::now(), path, head: all.clone(), body: body.clone(), answered: behaviour.clone() };
        // Recorded before the answer: who waits for the effect of the answer finds the request.
        self.requests.lock().unwrap().push(request);
        if behaviour == Behaviour::Reset {
            return None;
        }
        stream.read_exact(&mut vec![0; head + length]).ok()?;
        let (status, extra, body) = match behaviour {
            Behaviour::Answer(status, body) => (status, String::new(), body.to_owned()),
            Behaviour::Busy(seconds) => (429, format!("Retry-After: {seconds}\r\n"), "slow down".to_owned()),
            Behaviour::Redirect(path) => (307, format!("Location: {path}\r\n"), "over there".to_owned()),
            Behaviour::Echo(status) => (status, String::new(), format!("{all}{body}")),
            Behaviour::Flood(status) => (status, String::new(), "x".repeat(1 << 20)),
            // Until the other side has had enough.
            Behaviour::Hang => return stream.read(&mut buffer).ok().map(drop),
            Behaviour::Reset => return None,
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} Scripted\r\n{extra}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).ok()
    }
}

impl Shared {
    fn behaviour(&self, request: &str) -> Behaviour {
        for rule in self.rules.lock().unwrap().iter_mut() {
            if rule.needles.iter().all(|needle| request.contains(needle.as_str())) {
                let last = rule.script.len() == 1;
                return if last { rule.script[0].clone() } else { rule.script.pop_front().unwrap_or(OK) };
            }
        }
        self.script.lock().unwrap().pop_front().unwrap_or(OK)
    }
}

/// Where the body begins and how long it is, once the whole request is there.
fn measure(text: &[u8]) -> Option<(usize, usize)> {
    let head = text.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let lines = String::from_utf8_lossy(&text[..head]).to_ascii_lowercase();
    let length = lines.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    (text.len() >= head + length).then_some((head, length))
}

#[tokio::test]
async fn behaves_as_scripted_and_remembers() {
    let mut receiver = Receiver::start(&[Behaviour::Answer(500, "no"), Behaviour::Busy(7), Behaviour::Reset, Behaviour::Hang]);
    let http = crate::daemon::client();
    let post = |body: &'static str| http.post(receiver.url("/hook/x")).timeout(Duration::from_millis(500)).body(body).send();
    assert_eq!(post("1").await.unwrap().status(), 500);
    let busy = post("2").await.unwrap();
    assert_eq!((busy.status().as_u16(), &busy.headers()["retry-after"]), (429, &"7".parse().unwrap()));
    let reset = post("3").await.unwrap_err();
    assert!(format!("{reset:?}").contains("ConnectionReset"), "{reset:?}");
    assert!(post("4").await.unwrap_err().is_timeout());
    assert_eq!(post("5").await.unwrap().text().await.unwrap(), "ok");
    receiver.down();
    let url = receiver.url("/");
    assert!(http.post(&url).send().await.unwrap_err().is_connect());
    receiver.up();
    assert_eq!(http.post(&url).body("6").send().await.unwrap().status(), 200);
    let bodies: Vec<String> = receiver.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(receiver.requests()[0].path, "/hook/x");
    assert_eq!(receiver.accepted().len(), 2);
}
