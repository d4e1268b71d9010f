//! TCP options in a walk: `<mss 1460,sackOK,ts 1 0,wscale 7,toa client>`.

use anyhow::{Context, Result, bail, ensure};
use weir_wire::{OptionKind, TcpOption, TcpOptions, Toa};

use super::play::Faces;
use super::value::{Names, Value, number};

/// The options of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Options {
    /// `<*>`: whichever.
    Any,
    /// These, in this order.
    These(Vec<Opt>),
}

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opt {
    Nop,
    Eol,
    Mss(u16),
    Wscale(u8),
    SackOk,
    Sack(Vec<(Value, Value)>),
    Ts(Value, Value),
    /// The option kind and the face or address that it names.
    Toa(u8, String),
    Kind(u8, Vec<u8>),
}

impl Options {
    /// Reads what stands between `<` and `>`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let items = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        items
            .map(Opt::parse)
            .collect::<Result<_>>()
            .map(Self::These)
    }

    /// Returns the bytes of the options for a packet that goes in. Where the line writes no NOPs,
    /// they stand where Linux puts them: in front, so that each option ends on a whole word.
    pub(crate) fn bytes(&self, names: &mut Names, faces: &Faces) -> Result<Vec<u8>> {
        let Self::These(options) = self else {
            bail!("<*> says nothing about a packet that goes in");
        };
        let padded = options.iter().any(Opt::is_padding);
        let mut bytes = Vec::new();
        for (at, option) in options.iter().enumerate() {
            let encoded = option.bytes(names, faces)?;
            let joins_next =
                *option == Opt::SackOk && matches!(options.get(at + 1), Some(Opt::Ts(..)));
            if !padded && !joins_next {
                while !(bytes.len() + encoded.len()).is_multiple_of(4) {
                    bytes.push(OptionKind::NOP);
                }
            }
            bytes.extend(encoded);
        }
        ensure!(
            bytes.len() <= 40,
            "the options take {} bytes, 40 is the most",
            bytes.len()
        );
        Ok(bytes)
    }

    /// Compares the options of a packet that came out. Padding counts where the line writes some.
    pub(crate) fn meet(&self, got: &[u8], names: &mut Names, faces: &Faces) -> Result<()> {
        let Self::These(want) = self else {
            return Ok(());
        };
        let padded = want.iter().any(Opt::is_padding);
        let mut walk = TcpOptions::new(got);
        let mut found = Vec::new();
        for located in walk.by_ref() {
            let padding = matches!(located.option, TcpOption::Nop | TcpOption::EndOfList);
            if padded || !padding {
                found.push(located.option);
            }
        }
        ensure!(!walk.is_malformed(), "the options are malformed");
        for (at, want) in want.iter().enumerate() {
            let Some(found) = found.get(at) else {
                bail!("option {} is missing: {want:?}", at + 1);
            };
            want.meet(found, names, faces)?;
        }
        match found.get(want.len()) {
            Some(more) => bail!("there is one more option: {more}"),
            None => Ok(()),
        }
    }
}

impl Opt {
    fn parse(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        let option = match (name, rest.as_slice()) {
            ("nop", []) => Self::Nop,
            ("eol", []) => Self::Eol,
            ("sackOK", []) => Self::SackOk,
            ("mss", [mss]) => Self::Mss(u16::try_from(number(mss)?)?),
            ("wscale", [shift]) => Self::Wscale(u8::try_from(number(shift)?)?),
            ("ts", [val, ecr]) => Self::Ts(Value::parse(val)?, Value::parse(ecr)?),
            ("toa", [who]) => Self::Toa(OptionKind::TOA_V4, (*who).to_owned()),
            ("sack", blocks) if !blocks.is_empty() => {
                let blocks = blocks.iter().map(|block| {
                    let (left, right) = block
                        .split_once(':')
                        .with_context(|| format!("`{block}` is not left:right"))?;
                    Ok((Value::parse(left)?, Value::parse(right)?))
                });
                Self::Sack(blocks.collect::<Result<_>>()?)
            }
            ("kind", [kind, data @ ..]) => {
                let data = data.first().map_or(Ok(Vec::new()), |it| hex(it))?;
                Self::Kind(u8::try_from(number(kind)?)?, data)
            }
            _ => bail!("`{text}` is not a TCP option that walks know"),
        };
        Ok(option)
    }

    const fn is_padding(&self) -> bool {
        matches!(self, Self::Nop | Self::Eol)
    }

    fn bytes(&self, names: &mut Names, faces: &Faces) -> Result<Vec<u8>> {
        let mut bytes = match self {
            Self::Nop => return Ok(vec![OptionKind::NOP]),
            Self::Eol => return Ok(vec![OptionKind::EOL]),
            Self::Mss(mss) => vec![OptionKind::MSS, 0, (mss >> 8) as u8, *mss as u8],
            Self::Wscale(shift) => vec![OptionKind::WSCALE, 0, *shift],
            Self::SackOk => vec![OptionKind::SACK_PERM, 0],
            Self::Sack(blocks) => {
                let mut bytes = vec![OptionKind::SACK, 0];
                for (left, right) in blocks {
                    bytes.extend(names.give(left)?.to_be_bytes());
                    bytes.extend(names.give(right)?.to_be_bytes());
                }
                bytes
            }
            Self::Ts(val, ecr) => {
                let mut bytes = vec![OptionKind::TIMESTAMPS, 0];
                bytes.extend(names.give(val)?.to_be_bytes());
                bytes.extend(names.give(ecr)?.to_be_bytes());
                bytes
            }
            Self::Toa(kind, who) => {
                let toa = Toa {
                    kind: *kind,
                    client: faces.socket(who)?.into(),
                };
                toa.to_bytes()[..toa.len()].to_vec()
            }
            Self::Kind(kind, data) => {
                let mut bytes = vec![*kind, 0];
                bytes.extend(data);
                bytes
            }
        };
        bytes[1] = bytes.len() as u8;
        Ok(bytes)
    }

    fn meet(&self, got: &TcpOption<'_>, names: &mut Names, faces: &Faces) -> Result<()> {
        match (self, got) {
            (Self::Nop, TcpOption::Nop)
            | (Self::Eol, TcpOption::EndOfList)
            | (Self::SackOk, TcpOption::SackPermitted) => Ok(()),
            (Self::Mss(want), TcpOption::Mss(got)) if want == got => Ok(()),
            (Self::Wscale(want), TcpOption::WindowScale(got)) if want == got => Ok(()),
            (Self::Ts(val, ecr), TcpOption::Timestamps { tsval, tsecr }) => {
                names.meet("TSval", val, *tsval)?;
                names.meet("TSecr", ecr, *tsecr)
            }
            (Self::Sack(want), TcpOption::Sack(got)) if want.len() * 8 == got.len() => {
                let (edges, _) = got.as_chunks::<4>();
                let want = want.iter().flat_map(|(left, right)| [left, right]);
                for (want, got) in want.zip(edges) {
                    names.meet("a SACK edge", want, u32::from_be_bytes(*got))?;
                }
                Ok(())
            }
            (Self::Toa(kind, who), TcpOption::Toa(toa))
                if toa.kind == *kind && toa.client == faces.socket(who)?.into() =>
            {
                Ok(())
            }
            (Self::Kind(kind, want), TcpOption::Unknown { kind: got, data })
                if kind == got && want == data =>
            {
                Ok(())
            }
            _ => bail!("an option is `{got}`, should be {self:?}"),
        }
    }
}

/// Reads pairs of hexadecimal digits.
pub(crate) fn hex(text: &str) -> Result<Vec<u8>> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    ensure!(
        text.is_ascii() && text.len().is_multiple_of(2),
        "`{text}` is not whole bytes"
    );
    (0..text.len() / 2)
        .map(|at| {
            u8::from_str_radix(&text[at * 2..at * 2 + 2], 16)
                .with_context(|| format!("`{text}` is not hexadecimal"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_padded_as_linux_does() {
        let options = Options::parse("mss 1460,sackOK,ts 1 0,wscale 7").unwrap();
        let bytes = options
            .bytes(&mut Names::default(), &Faces::default())
            .unwrap();
        assert_eq!(
            bytes,
            [
                2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7
            ]
        );
        let options = Options::parse("ts 1 2").unwrap();
        let bytes = options
            .bytes(&mut Names::default(), &Faces::default())
            .unwrap();
        assert_eq!(bytes[..4], [1, 1, 8, 10]);
    }

    #[test]
    fn options_meet_themselves_and_nothing_else() {
        let (mut names, faces) = (Names::default(), Faces::default());
        let sent = Options::parse("nop,nop,sack A:B 5:6").unwrap();
        let bytes = sent.bytes(&mut names, &faces).unwrap();
        sent.meet(&bytes, &mut names, &faces).unwrap();
        let loose = Options::parse("sack A:B 5:6").unwrap();
        loose.meet(&bytes, &mut names, &faces).unwrap();
        let strict = Options::parse("nop,sack A:B 5:6").unwrap();
        assert!(strict.meet(&bytes, &mut names, &faces).is_err());
        let other = Options::parse("sack A:B 5:7").unwrap();
        assert!(other.meet(&bytes, &mut names, &faces).is_err());
        let fewer = Options::parse("").unwrap();
        assert!(fewer.meet(&bytes, &mut names, &faces).is_err());
    }
}
