//! Serves connections, so many at once and none that keeps us waiting: whoever may connect must not be able to keep others out.

use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;

use super::access::Doors;

/// Until the end comes, and then what was asked before it. The head of a request may take so long.
pub(super) async fn serve(mut doors: Doors, routes: Router, head_timeout: Duration, end: impl Future<Output = ()>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout);
    let (open, routes) = (GracefulShutdown::new(), TowerToHyperService::new(routes));
    let mut end = std::pin::pin!(end);
    loop {
        let (connection, peer) = tokio::select! {
            accepted = doors.accept() => accepted,
            () = &mut end => break,
        };
        let routes = routes.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            routes.call(request)
        });
        let served = open.watch(http.serve_connection(TokioIo::new(connection), service));
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(peer = %peer.0, %error, "a connection ends");
            }
        });
    }
    drop(doors);
    open.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::routing::get;
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::api::access::{Access, Peer};
    use crate::yaml::Faults;

    const SOON: Duration = Duration::from_secs(20);

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Who is disconnected may be so roughly.
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the connection stays open");
        String::from_utf8(answer).unwrap()
    }

    const WHOLE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    #[tokio::test]
    async fn who_never_ends_a_request_is_disconnected_and_keeps_nobody_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let access: Arc<Access> = Access::open(None, "http://localhost", &mut Faults::default()).unwrap();
        let doors = Doors::new(listener, access, 2).unwrap();
        let routes =
            Router::new().route("/", get(|ConnectInfo(Peer(peer)): ConnectInfo<Peer>| async move { peer.ip().to_string() }));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let end = async move { drop(stopped.await) };
        let serving = tokio::spawn(serve(doors, routes, Duration::from_millis(100), end));
        assert!(ask(address, WHOLE).await.ends_with("\r\n\r\n127.0.0.1"));
        // Silent ones, half a head, an answer and nothing more: many more than may be at once.
        let starts = ["", "GET / HTTP/1.1\r\nHost: x\r\nA: ", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"];
        let slow: Vec<_> = (0..9).map(|n| tokio::spawn(ask(address, starts[n % 3]))).collect();
        assert!(ask(address, WHOLE).await.starts_with("HTTP/1.1 200 OK"));
        for slow in slow {
            slow.await.unwrap();
        }
        stop.send(()).unwrap();
        tokio::time::timeout(SOON, serving).await.expect("it ends").unwrap();
    }

    #[tokio::test]
    async fn no_more_are_served_at_once_than_may_be() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let access: Arc<Access> = Access::open(None, "http://localhost", &mut Faults::default()).unwrap();
        let mut doors = Doors::new(listener, access, 1).unwrap();
        let _clients = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        let first = doors.accept().await;
        assert!(Box::pin(doors.accept()).now_or_never().is_none());
        drop(first);
        tokio::time::timeout(SOON, doors.accept()).await.expect("the second is let in");
    }
}
