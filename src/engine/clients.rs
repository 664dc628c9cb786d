//! HTTP clients, one for all receivers that are reached the same way: they share its connections.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::tls;
use crate::limits::{CONNECT_TIMEOUT, MAX_CLIENTS, REQUEST_TIMEOUT};
use crate::notify::{Proxy, TlsOptions, Transport};

/// What was built for options, that used last at the end.
pub struct Built<K, V>(Arc<Mutex<Vec<(K, V)>>>);

impl<K: PartialEq + Clone + Send + 'static, V: Clone + Send + 'static> Built<K, V> {
    /// What there is for these options, else what `build` makes of them, where it holds up nothing else.
    ///
    /// # Errors
    /// The options cannot be put to use; the text holds no secret.
    pub async fn of(&self, options: &K, build: fn(&K) -> Result<V, String>) -> Result<V, String> {
        if let Some(found) = self.known(options) {
            return Ok(found);
        }
        let wanted = options.clone();
        let built = tokio::task::spawn_blocking(move || build(&wanted)).await;
        let built = built.map_err(|_| "the connection cannot be prepared, which is a fault of modelwatch".to_owned())??;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_CLIENTS {
            known.remove(0);
        }
        known.push((options.clone(), built.clone()));
        Ok(built)
    }

    fn known(&self, options: &K) -> Option<V> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = known.iter().position(|(of, _)| of == options)?;
        let used = known.remove(at);
        let found = used.1.clone();
        known.push(used);
        Some(found)
    }
}

impl<K, V> Default for Built<K, V> {
    fn default() -> Built<K, V> {
        Built(Arc::default())
    }
}

impl<K, V> Clone for Built<K, V> {
    fn clone(&self) -> Built<K, V> {
        Built(self.0.clone())
    }
}

impl<K, V> fmt::Debug for Built<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Built")
    }
}

/// A client that follows no redirects and waits no longer than it should.
///
/// # Errors
/// The options cannot be put to use; the text holds no secret.
pub fn client(transport: &Transport) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT.to_std())
        .timeout(REQUEST_TIMEOUT.to_std())
        .user_agent(concat!("modelwatch/", env!("CARGO_PKG_VERSION")));
    if !transport.http2 {
        builder = builder.http1_only();
    }
    builder = match &transport.proxy {
        Proxy::None => builder.no_proxy(),
        Proxy::Environment => builder,
        Proxy::Given { url, except } => {
            let proxy = reqwest::Proxy::all(url.reveal()).map_err(|_| "proxy_url: this is no URL of a proxy".to_owned())?;
            builder.no_proxy().proxy(proxy.no_proxy(reqwest::NoProxy::from_string(except)))
        }
    };
    if transport.tls != TlsOptions::default() {
        let protocols: &[&str] = if transport.http2 { &["h2", "http/1.1"] } else { &["http/1.1"] };
        builder = builder.tls_backend_preconfigured(tls::config(&transport.tls, protocols)?);
    }
    builder.build().map_err(|error| format!("the client cannot be built: {}", error.without_url()))
}
