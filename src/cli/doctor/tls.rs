//! When a server's certificate ends. The certificate is checked as the gateway checks it; of its DER encoding (X.690) no more is read
//! than leads to the date (RFC 5280 section 4.1).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Shakes hands and tells when the server's certificate ends.
///
/// # Errors
/// What is wrong with the certificate, or with the handshake, in words.
pub(super) async fn end_of_certificate(
    mut stream: TcpStream,
    host: &str,
    patience: Duration,
) -> Result<Timestamp, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let mut connection =
        ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    let handshake = async {
        let mut received = vec![0; 16 * 1024];
        while connection.is_handshaking() {
            let mut out = Vec::new();
            while connection.wants_write() {
                connection.write_tls(&mut out).map_err(|error| error.to_string())?;
            }
            stream.write_all(&out).await.map_err(|error| error.to_string())?;
            if !connection.is_handshaking() {
                break;
            }
            let count = stream.read(&mut received).await.map_err(|error| error.to_string())?;
            let mut bytes = received.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                return Err(
                    "the server ended the connection in the middle of the handshake".to_owned()
                );
            }
            while !bytes.is_empty() {
                connection.read_tls(&mut bytes).map_err(|error| error.to_string())?;
                connection.process_new_packets().map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    };
    let done = tokio::time::timeout(patience, handshake).await;
    done.map_err(|_| "the handshake was not done in time".to_owned())??;
    let certificates = connection.peer_certificates().unwrap_or_default();
    let first = certificates.first().ok_or("the server showed no certificate")?;
    not_after(first).ok_or_else(|| "the certificate's end cannot be read".to_owned())
}

/// The end of a certificate's validity.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    // An explicit version comes first where there is one; serial number, algorithm and issuer come before the validity.
    let mut before = 3;
    if rest.first() == Some(&0xa0) {
        before += 1;
    }
    for _ in 0..before {
        (_, _, rest) = element(rest)?;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, rest) = element(validity)?;
    let (tag, end, _) = element(rest)?;
    time(tag, std::str::from_utf8(end).ok()?)
}

/// The first element: its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `UTCTime` (two digits of the year, from 1950 on) or `GeneralizedTime`, in UTC.
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z')?;
    let whole = match tag {
        0x17 if digits.get(..2)?.parse::<u8>().ok()? >= 50 => format!("19{digits}"),
        0x17 => format!("20{digits}"),
        0x18 => digits.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", &whole).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_two_kinds() {
        let read = |tag, text| time(tag, text).map(|time| time.to_string());
        assert_eq!(read(0x17, "270131235959Z").as_deref(), Some("2027-01-31T23:59:59Z"));
        assert_eq!(read(0x17, "991231235959Z").as_deref(), Some("1999-12-31T23:59:59Z"));
        assert_eq!(read(0x18, "20510101000000Z").as_deref(), Some("2051-01-01T00:00:00Z"));
        for wrong in ["", "Z", "2701312359Z", "270131235959", "xx0131235959Z"] {
            assert_eq!(read(0x17, wrong), None, "{wrong}");
        }
    }

    /// Made by OpenSSL, for localhost.
    #[test]
    fn a_certificates_end_is_found() {
        use base64::Engine;
        let text = "MIIBfTCCASOgAwIBAgIUb9lk0D0t2/YhdU10hzkCs/13wYQwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3N0MB4XDTI2 \
             MTEyNjAxNTQwOFoXDTM2MTEyMzAxNTQwOFowFDESMBAGA1UEAwwJbG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE \
             QPfwj/3WtQG7F6eb2jY/TzxSQbd1CQ39pack6anrhDI/ldn3tVTzueKv3miT41dCqBkbeRl6XrTNtWGukodHL6NTMFEwHQYDVR0O \
             BBYEFLK4RbijxIYimthDLdAUOwP3/Pa5MB8GA1UdIwQYMBaAFLK4RbijxIYimthDLdAUOwP3/Pa5MA8GA1UdEwEB/wQFMAMBAf8w \
             CgYIKoZIzj0EAwIDSAAwRQIhAJ+TkvhYUIR7LL8A2phaVBCg7XkASuPUlrcmCMzjFBJYAiBoBhgq3AJJHL6vEJmDE/EnNmVqvxNM \
             UyceV0mtEpXKIA==";
        let text = text.replace(' ', "");
        let der = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        assert_eq!(not_after(&der).unwrap().to_string(), "2036-11-23T01:54:08Z");
        // However it is cut, nothing is read beyond it.
        for end in 0..der.len() {
            let _cut = not_after(&der[..end]);
        }
    }

    #[test]
    fn rubbish_is_no_certificate() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x80, 0, 0],
            &[0x30, 3, 0x30, 1, 0xa0],
        ] {
            assert_eq!(not_after(bytes), None);
        }
    }
}
