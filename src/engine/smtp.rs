//! A mail to its server. The dialogue is lettre's; what comes before it, up to where TLS has begun, is ours, so that mail
//! trusts whom HTTP trusts, and nothing that was said unencrypted counts afterwards.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::engine::send::{Fault, causes};
use crate::limits::{ANSWER_BYTES, CONNECT_TIMEOUT, REQUEST_TIMEOUT};
use crate::notify::{Answer, Auth, Mail, Smarthost};
use crate::time::Span;

/// How long a server is given to say good-bye, once it has the mail.
const QUIT_TIMEOUT: Span = Span::secs(1);

/// What became of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What the server said last that matters.
    pub answer: Answer,
    /// What is to be known of it next time, where somebody has it.
    pub handle: Option<String>,
    /// Recipients that do not have it and never will, with what the server said of them, while others have it.
    pub refused: Vec<String>,
}

/// Why the dialogue ended early.
enum Stop {
    /// The server said no.
    Said(Answer),
    /// It said nothing, or nothing of use.
    Fault(Fault),
}

/// Hands over a mail.
///
/// # Errors
/// There was no answer; the text may hold secrets.
pub async fn send(mail: &Mail, tls: Arc<ClientConfig>) -> Result<Sent, Fault> {
    match tokio::time::timeout(REQUEST_TIMEOUT.to_std(), dialogue(mail, tls)).await {
        Ok(Ok(sent)) => Ok(sent),
        Ok(Err(Stop::Said(answer))) => Ok(Sent { answer, handle: None, refused: Vec::new() }),
        Ok(Err(Stop::Fault(fault))) => Err(fault),
        Err(_) => Err(Fault::Network(format!("{}: not done within {REQUEST_TIMEOUT}", name(&mail.smarthost)))),
    }
}

async fn dialogue(mail: &Mail, tls: Arc<ClientConfig>) -> Result<Sent, Stop> {
    let message = mail.message.as_ref().map_err(|fault| unable(fault.clone()))?;
    let from = address(&mail.from)?;
    let to: Vec<Address> = mail.to.iter().map(|to| address(to)).collect::<Result<_, _>>()?;
    let (mut connection, encrypted) = connect(&mail.smarthost, tls).await?;
    if let Some(auth) = &mail.smarthost.auth {
        authenticate(&mut connection, auth, encrypted || mail.smarthost.may_authenticate_unencrypted()).await?;
    }
    let mut parameters = Vec::new();
    if to.iter().chain([&from]).any(|address| !address.to_string().is_ascii()) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(unable("an address is not ASCII, and the server does not know SMTPUTF8".to_owned()));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    connection.command(MailFrom::new(Some(from), parameters)).await.map_err(stop)?;
    let (mut accepted, mut later, mut never) = (Vec::new(), Vec::new(), Vec::new());
    for (address, written) in to.into_iter().zip(&mail.to) {
        match connection.command(Rcpt::new(address, Vec::new())).await.map_err(stop) {
            Ok(_) => accepted.push(written.clone()),
            Err(Stop::Said(answer)) => {
                let refusals = if answer.status < 500 { &mut later } else { &mut never };
                refusals.push(Answer { body: format!("{written}: {}", answer.body), ..answer });
            }
            Err(fault) => return Err(fault),
        }
    }
    let mut answer = None;
    if !accepted.is_empty() {
        connection.command(Data).await.map_err(stop)?;
        answer = Some(said(&connection.message(message).await.map_err(stop)?));
    }
    // It has the mail, whatever it says now.
    tokio::spawn(async move { tokio::time::timeout(QUIT_TIMEOUT.to_std(), connection.quit()).await.is_ok() });
    Ok(sum_up(mail, answer, &accepted, later, never))
}

/// Who was refused for now is told again; who was refused for good is told about, unless nobody has it: then it failed.
fn sum_up(mail: &Mail, answer: Option<Answer>, accepted: &[String], later: Vec<Answer>, never: Vec<Answer>) -> Sent {
    let somebody_has_it = !accepted.is_empty() || mail.has_been_told();
    let handle = somebody_has_it.then(|| mail.handle(accepted));
    let refusals = |answers: &[Answer]| answers.iter().map(|refusal| format!("{} {}", refusal.status, refusal.body)).collect();
    if let Some(first) = later.first() {
        let body = format!("{}{}", first.body, if somebody_has_it { "; the others have it" } else { "" });
        return Sent { answer: Answer { body, ..first.clone() }, handle, refused: refusals(&never) };
    }
    let done = || Answer { status: 250, retry_after: None, body: "the others have it".to_owned() };
    match never.first() {
        Some(first) if !somebody_has_it => Sent { answer: first.clone(), handle, refused: Vec::new() },
        _ => Sent { answer: answer.unwrap_or_else(done), handle, refused: refusals(&never) },
    }
}

/// A connection that has greeted, and whether it is encrypted.
async fn connect(smarthost: &Smarthost, tls: Arc<ClientConfig>) -> Result<(AsyncSmtpConnection, bool), Stop> {
    let connecting = TcpStream::connect((smarthost.host.as_str(), smarthost.port));
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("not connected within {CONNECT_TIMEOUT}"));
    let connected = tokio::time::timeout(CONNECT_TIMEOUT.to_std(), connecting).await.map_err(|_| late()).and_then(|done| done);
    let mut stream = connected.map_err(|error| network(smarthost, &error))?;
    let peer = stream.peer_addr().map_err(|error| network(smarthost, &error))?;
    let encrypted = smarthost.implicit_tls || smarthost.require_tls;
    let link: Box<dyn AsyncTokioStream> = if encrypted {
        // After STARTTLS the server does not greet again, though lettre waits for that.
        let greeting: &[u8] = if smarthost.implicit_tls { b"" } else { b"220 \r\n" };
        if !smarthost.implicit_tls {
            start_tls(&mut stream, smarthost).await?;
        }
        let name = smarthost.tls.server_name.as_ref().unwrap_or(&smarthost.host);
        let name = ServerName::try_from(name.clone()).map_err(|_| unable(format!("`{name}` is no name of a host")))?;
        let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(|error| handshake(smarthost, &error))?;
        Box::new(Link { greeting, stream, peer })
    } else {
        Box::new(Link { greeting: b"", stream, peer })
    };
    let hello = ClientId::Domain(smarthost.hello.clone());
    Ok((AsyncSmtpConnection::connect_with_transport(link, &hello).await.map_err(stop)?, encrypted))
}

/// Says no more than that TLS is wanted.
async fn start_tls(stream: &mut TcpStream, smarthost: &Smarthost) -> Result<(), Stop> {
    let fault = |error: io::Error| network(smarthost, &error);
    reply(stream).await.map_err(fault)??;
    let hello = format!("EHLO {}\r\n", smarthost.hello);
    stream.write_all(hello.as_bytes()).await.map_err(fault)?;
    let offers = reply(stream).await.map_err(fault)??;
    if !offers.lines().any(|line| line.trim().eq_ignore_ascii_case("STARTTLS")) {
        let advice = "set `require_tls: false` to send unencrypted, or use port 465";
        return Err(unable(format!("{} offers no STARTTLS; {advice}", name(smarthost))));
    }
    stream.write_all(b"STARTTLS\r\n").await.map_err(fault)?;
    reply(stream).await.map_err(fault)??;
    Ok(())
}

/// A reply that says yes: its text, a line each. Anything that comes with it was not asked for, and may be somebody else's.
async fn reply(stream: &mut TcpStream) -> io::Result<Result<String, Stop>> {
    let mut read = Vec::new();
    loop {
        let mut chunk = [0; 1024];
        let count = stream.read(&mut chunk).await?;
        read.extend_from_slice(&chunk[..count]);
        if count == 0 || read.len() > ANSWER_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer breaks off, or never ends"));
        }
        let text = String::from_utf8_lossy(&read);
        let Some(end) = text.split_inclusive('\n').position(|line| line.ends_with('\n') && line.as_bytes().get(3) != Some(&b'-'))
        else {
            continue;
        };
        if text.split_inclusive('\n').count() > end + 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the server speaks out of turn"));
        }
        let code: Option<u16> = text.get(..3).and_then(|code| code.parse().ok());
        let body: Vec<&str> = text.lines().map(|line| line.get(4..).unwrap_or_default().trim_end()).collect();
        return Ok(match code {
            Some(200..=299) => Ok(body.join("\n")),
            Some(status @ 400..=599) => Err(Stop::Said(Answer { status, retry_after: None, body: body.join(" ") })),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak SMTP")),
        });
    }
}

/// Without the name and the password where the server asks for none.
async fn authenticate(connection: &mut AsyncSmtpConnection, auth: &Auth, may: bool) -> Result<(), Stop> {
    let offers = |mechanism| connection.server_info().supports_auth_mechanism(mechanism);
    let (plain, login) = (offers(Mechanism::Plain), offers(Mechanism::Login));
    if !may && (plain || login) {
        return Err(unable("no password is sent unencrypted to another machine; set `require_tls: true`".to_owned()));
    }
    if plain {
        let credentials = BASE64.encode(format!("{}\0{}\0{}", auth.identity, auth.username, auth.password.reveal()));
        connection.command(format!("AUTH PLAIN {credentials}\r\n")).await.map_err(stop)?;
    } else if login {
        let credentials = Credentials::new(auth.username.clone(), auth.password.reveal().to_owned());
        connection.auth(&[Mechanism::Login], &credentials).await.map_err(stop)?;
    }
    Ok(())
}

fn address(text: &str) -> Result<Address, Stop> {
    text.parse().map_err(|_| unable(format!("`{text}` is no address of mail")))
}

fn said(response: &Response) -> Answer {
    Answer { status: response.code().into(), retry_after: None, body: response.message().collect::<Vec<_>>().join(" ") }
}

fn stop(error: Error) -> Stop {
    if let Some(code) = error.status() {
        let body = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        return Stop::Said(Answer { status: code.into(), retry_after: None, body });
    }
    if error.is_client() { unable(causes(&error)) } else { Stop::Fault(Fault::Network(causes(&error))) }
}

fn unable(fault: String) -> Stop {
    Stop::Fault(Fault::Unable(fault))
}

fn name(smarthost: &Smarthost) -> String {
    format!("{}:{}", smarthost.host, smarthost.port)
}

fn network(smarthost: &Smarthost, error: &io::Error) -> Stop {
    Stop::Fault(Fault::Network(format!("{}: {}", name(smarthost), causes(error))))
}

/// What TLS objects to is a matter of configuration, on one side or the other; a connection that breaks is not.
fn handshake(smarthost: &Smarthost, error: &io::Error) -> Stop {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(fault) => unable(format!("TLS with {}: {fault}", name(smarthost))),
        None => network(smarthost, error),
    }
}

/// A connection, before which stands what its reader expects.
struct Link<S> {
    greeting: &'static [u8],
    stream: S,
    peer: SocketAddr,
}

impl<S> fmt::Debug for Link<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> AsyncTokioStream for Link<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Link<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let (now, later) = self.greeting.split_at(self.greeting.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Link<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
