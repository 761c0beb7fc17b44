//! What is wrong with a request that is never served, or that breaks off on its way: a sentence for the log, and the answer it gets.

use http::StatusCode;

/// Why a client's bytes are taken for no request. The sentences name no byte of the client's: they go into the log as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub(in crate::proxy::http) enum Fault {
    /// A TLS record.
    #[error("the client speaks TLS where HTTP in plaintext is expected")]
    Tls,
    /// The preface of HTTP/2 where it may not come.
    #[error("the client went over to HTTP/2 on a connection that speaks HTTP/1.1")]
    Http2Preface,
    /// RFC 9112 §2.2.
    #[error("more empty lines than a few precede the request line")]
    EmptyLines,
    /// RFC 9112 §3.
    #[error("the request line is not a method, a target and a version with one space between them")]
    RequestLine,
    /// RFC 9112 §2.3, §3.
    #[error("the version in the request line is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
    /// RFC 9112 §3.2.
    #[error("the target is not a URI reference of RFC 9112 in ASCII, without a fragment")]
    Target,
    /// RFC 9112 §3.
    #[error("the request line is longer than the limits allow")]
    TargetTooLong,
    /// RFC 9112 §2.2: a recipient may take a bare LF for the end of a line. Whoever does not sees other headers than we did.
    #[error("a line of the head ends in a bare CR or LF; only CRLF ends a line")]
    LineEnd,
    /// RFC 9112 §5.1, §5.2.
    #[error(
        "a header line has no valid name before the colon: it is folded, has a space before the colon, or an octet that no name may have"
    )]
    HeaderName,
    /// RFC 9110 §5.5.
    #[error("a header's value has a control character, or a CR that ends no line")]
    HeaderValue,
    /// More than the limits allow.
    #[error("the request has more headers than the limits allow")]
    TooManyHeaders,
    /// More than the limits allow.
    #[error("the request's head is longer than the limits allow")]
    HeadTooLarge,
    /// RFC 9112 §6.3, rule 5.
    #[error("Content-Length is not one decimal number of a size that can be")]
    Length,
    /// RFC 9112 §6.3, rule 5: repeated lengths may be refused even where they agree.
    #[error("Content-Length is given more than once")]
    RepeatedLength,
    /// RFC 9112 §6.3, rule 3.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// RFC 9112 §6.1, §7: the only coding that we can undo.
    #[error("Transfer-Encoding is anything else than `chunked`, once")]
    Encoding,
    /// RFC 9112 §6.1.
    #[error("an HTTP/1.0 request has Transfer-Encoding")]
    EncodingInHttp10,
    /// RFC 9110 §9.3.6.
    #[error("a CONNECT request has a body")]
    ConnectWithBody,
    /// RFC 9112 §7.1.
    #[error("the size line of a chunk is not hexadecimal digits and extensions, ended by CRLF")]
    ChunkSize,
    /// RFC 9112 §7.1.1: a limit on their total is asked for.
    #[error("the chunk extensions of one request are longer than 4 KiB in all")]
    ChunkExtensions,
    /// RFC 9112 §7.1.
    #[error("a chunk is not followed by CRLF")]
    ChunkEnd,
    /// RFC 9112 §7.1.2.
    #[error("a trailer line is not NAME: VALUE, ended by CRLF")]
    Trailer,
    /// More, or longer, than the limits allow.
    #[error("the trailers are more, or longer, than the limits on headers allow")]
    TrailersTooLarge,
    /// The head was begun, and not finished within the header timeout.
    #[error("the request's head was not complete within the header timeout")]
    Timeout,
    /// The client ended its side within a head or a body.
    #[error("the client ended the connection in the middle of a request")]
    Truncated,
}

impl Fault {
    /// The status of the answer to it; `None` where nobody is left to read one.
    pub(in crate::proxy::http) fn status(self) -> Option<StatusCode> {
        match self {
            Self::TargetTooLong => Some(StatusCode::URI_TOO_LONG),
            Self::TooManyHeaders | Self::HeadTooLarge | Self::TrailersTooLarge => {
                Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
            }
            Self::Timeout => Some(StatusCode::REQUEST_TIMEOUT),
            Self::Truncated => None,
            Self::Tls
            | Self::Http2Preface
            | Self::EmptyLines
            | Self::RequestLine
            | Self::Version
            | Self::Target
            | Self::LineEnd
            | Self::HeaderName
            | Self::HeaderValue
            | Self::Length
            | Self::RepeatedLength
            | Self::LengthAndEncoding
            | Self::Encoding
            | Self::EncodingInHttp10
            | Self::ConnectWithBody
            | Self::ChunkSize
            | Self::ChunkExtensions
            | Self::ChunkEnd
            | Self::Trailer => Some(StatusCode::BAD_REQUEST),
        }
    }
}
