//! stunnel: a thread for each connection, whatever is wished for.

use std::process::Command;

use super::{CIPHER, Hop, Side};
use crate::credentials::NAME;

pub(super) fn configure(command: &mut Command, hop: &Hop<'_>) -> anyhow::Result<()> {
    let own = hop.own();
    let side = match hop.side {
        Side::Inbound => "client = no\nrequireCert = yes".to_owned(),
        Side::Outbound => format!("client = yes\ncheckHost = {NAME}\nsni = {NAME}"),
    };
    let text = format!(
        "foreground = yes\npid =\ndebug = err\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n\
         [bench]\n{side}\naccept = {listen}\nconnect = {target}\ncert = {certificates}\nkey = {key}\nCAfile = {roots}\nverifyChain = yes\n\
         sslVersion = TLSv1.3\nciphersuites = {CIPHER}\nsessionResume = no\nTIMEOUTclose = 0\n",
        listen = hop.listen,
        target = hop.target,
        certificates = own.certificates().display(),
        key = own.key().display(),
        roots = own.roots().display(),
    );
    command.arg(hop.write("stunnel.conf", &text)?);
    Ok(())
}
