//! Passwords against bcrypt hashes. A hash is slow on purpose, 50 ms and more, so what was verified once is remembered
//! (not the password: a digest under a key that this process alone has), and one is computed at a time, so that guessing
//! takes no more than one core. Few wait for it: each would hold its connection meanwhile.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::limits::MAX_PASSWORDS_WAITING;

/// Passwords that are remembered; when there are more, all are forgotten, and each costs its hash again.
const REMEMBERED: usize = 100;

/// Digests under a key that nobody else has and that ends with the process.
pub(super) struct Keyed([u8; 64]);

impl Keyed {
    /// A new key; none where the system has no random numbers.
    pub fn new() -> Option<Keyed> {
        let mut key = [0; 64];
        rustls::crypto::ring::default_provider().secure_random.fill(&mut key).ok()?;
        Some(Keyed(key))
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(&self.0.into());
        mac.update(message);
        mac
    }

    /// HMAC-SHA256.
    pub fn digest(&self, message: &[u8]) -> [u8; 32] {
        self.mac(message).finalize().into_bytes().into()
    }

    /// Whether it is that, in constant time.
    pub fn is_digest(&self, message: &[u8], digest: &[u8]) -> bool {
        self.mac(message).verify_slice(digest).is_ok()
    }
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

#[derive(Debug)]
pub(super) struct Passwords {
    key: Keyed,
    right: Mutex<BTreeSet<[u8; 32]>>,
    turn: Semaphore,
    waiting: Semaphore,
}

/// Too many wait already.
#[derive(Debug, PartialEq)]
pub(super) struct Busy;

impl Passwords {
    pub fn new(key: Keyed) -> Passwords {
        Passwords { key, right: Mutex::default(), turn: Semaphore::new(1), waiting: Semaphore::new(MAX_PASSWORDS_WAITING) }
    }

    /// Whether the password is that of the hash.
    pub async fn verify(&self, name: &str, password: &str, hash: &str) -> Result<bool, Busy> {
        let digest = self.key.digest(format!("{}:{name}{}:{hash}{password}", name.len(), hash.len()).as_bytes());
        if self.knows(&digest) {
            return Ok(true);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| Busy)?;
        let Ok(_turn) = self.turn.acquire().await else { return Ok(false) };
        // Another request may have asked the same meanwhile.
        if self.knows(&digest) {
            return Ok(true);
        }
        let (password, hash) = (password.to_owned(), hash.to_owned());
        let right = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
        if !right.unwrap_or(false) {
            return Ok(false);
        }
        let mut known = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(digest);
        Ok(true)
    }

    fn knows(&self, digest: &[u8; 32]) -> bool {
        self.right.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn right_passwords_are_remembered_and_wrong_ones_are_not() {
        let passwords = Passwords::new(Keyed::new().unwrap());
        let hash = bcrypt::hash("open sesame", 4).unwrap();
        assert!(!passwords.verify("ali", "open", &hash).await.unwrap());
        assert_eq!(passwords.right.lock().unwrap().len(), 0);
        assert!(passwords.verify("ali", "open sesame", &hash).await.unwrap());
        assert_eq!(passwords.right.lock().unwrap().len(), 1);
        // From memory: no hash can be had any more.
        passwords.turn.close();
        assert!(passwords.verify("ali", "open sesame", &hash).await.unwrap());
        assert!(!passwords.verify("ali", "open sesame!", &hash).await.unwrap());
        assert!(!passwords.verify("al", "open sesame", &hash).await.unwrap());
        let other = bcrypt::hash("open sesame", 4).unwrap();
        assert!(!passwords.verify("ali", "open sesame", &other).await.unwrap(), "under another hash it is verified anew");
        assert_eq!(format!("{:?}", passwords.key), "<secret>");
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let passwords = Passwords::new(Keyed::new().unwrap());
        for n in 0..REMEMBERED + 5 {
            let hash = bcrypt::hash("x", 4).unwrap();
            assert!(passwords.verify(&n.to_string(), "x", &hash).await.unwrap());
            assert!(passwords.right.lock().unwrap().len() <= REMEMBERED);
        }
    }

    #[tokio::test]
    async fn those_who_wait_are_bounded() {
        let passwords = Passwords::new(Keyed::new().unwrap());
        let hash = bcrypt::hash("x", 4).unwrap();
        let turn = passwords.turn.acquire().await.unwrap();
        let mut waiting: Vec<_> = (0..MAX_PASSWORDS_WAITING).map(|_| Box::pin(passwords.verify("a", "x", &hash))).collect();
        for one in &mut waiting {
            assert!(one.now_or_never().is_none());
        }
        assert_eq!(passwords.verify("a", "x", &hash).await, Err(Busy));
        drop(turn);
        for one in waiting {
            assert_eq!(one.await, Ok(true));
        }
        assert_eq!(passwords.verify("b", "x", &hash).await, Ok(true));
    }
}
