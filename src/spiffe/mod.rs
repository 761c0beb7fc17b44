//! The words of SPIFFE: identities, the rules for an X.509-SVID, trust bundles and path validation. Pure: no file,
//! no clock and no runtime; instants are arguments.

mod bundle;
mod facts;
mod id;
mod path;
mod svid;

pub use bundle::{BundleError, DroppedRoot, Root, TrustBundle, TrustBundles};
pub use facts::{CertificateFacts, LeafFacts};
pub use id::{SpiffeId, SpiffeIdError, TrustDomain};
pub(crate) use id::{check_segment, lower_authority};
pub use path::{Rejection, Stage, Usage, Verified, verify};
pub use rustls::pki_types::UnixTime;
pub use svid::{Leaf, SvidError};
