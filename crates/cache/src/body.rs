//! Bodies: owns bytes that several readers share and send without a copy. Encoding them is left to
//! the caller.

use std::sync::Arc;

use canter_http::coding::Coding;

/// The content of a response, in chunks. A clone is another handle to the same bytes, and any
/// thread may have one.
#[derive(Debug, Clone)]
pub struct Body(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    /// Nearly every page is one chunk.
    first: Box<[u8]>,
    rest: Box<[Box<[u8]>]>,
    len: u64,
}

impl Body {
    /// One chunk.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        let first = bytes.into();
        let len = first.len() as u64;
        Self(Arc::new(Parts {
            first,
            rest: Box::default(),
            len,
        }))
    }

    /// Several, in order.
    pub fn from_chunks(chunks: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut chunks = chunks
            .into_iter()
            .filter(|chunk| !chunk.is_empty())
            .map(Vec::into_boxed_slice);
        let first = chunks.next().unwrap_or_default();
        let rest: Box<[Box<[u8]>]> = chunks.collect();
        let len = first.len() as u64 + rest.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        Self(Arc::new(Parts { first, rest, len }))
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The chunks, none of them empty.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&self.0.first)
            .chain(&self.0.rest)
            .map(|chunk| &**chunk)
            .filter(|chunk| !chunk.is_empty())
    }

    /// The bytes from `start` on, `len` of them, as pieces of chunks.
    pub fn slices(&self, start: u64, len: u64) -> impl Iterator<Item = &[u8]> {
        let (mut skip, mut left) = (start, len);
        self.chunks().filter_map(move |chunk| {
            let size = chunk.len() as u64;
            let from = skip.min(size);
            skip -= from;
            let take = left.min(size - from);
            left -= take;
            let (from, take) = (usize::try_from(from).ok()?, usize::try_from(take).ok()?);
            chunk
                .get(from..from.checked_add(take)?)
                .filter(|piece| !piece.is_empty())
        })
    }

    /// Everything in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(usize::try_from(self.len()).unwrap_or_default());
        for chunk in self.chunks() {
            out.extend_from_slice(chunk);
        }
        out
    }

    /// What it takes of memory.
    pub(crate) fn cost(&self) -> usize {
        let rest = &self.0.rest;
        let list = heap(rest.len() * size_of::<Box<[u8]>>());
        let own = heap(size_of::<Parts>() + 16);
        let chunks: usize = rest.iter().map(|chunk| heap(chunk.len())).sum();
        own + heap(self.0.first.len()) + list + chunks
    }

    /// Whether both are the same bytes in memory.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What an allocation takes of the heap: the allocator's own word before it, sixteen bytes apart,
/// and whole pages for a large one.
pub(crate) const fn heap(len: usize) -> usize {
    const LARGE: usize = 128 * 1024;
    match len {
        0 => 0,
        1..=24 => 32,
        25..LARGE => (len + 8 + 15) & !15,
        _ => (len + 16 + 4095) & !4095,
    }
}

/// The encoded forms of a body that were made so far.
#[derive(Debug, Clone, Default)]
pub struct Forms([Option<Body>; 3]);

impl Forms {
    /// The form for a coding; identity is none of them.
    pub fn get(&self, coding: Coding) -> Option<&Body> {
        self.0.get(place(coding)?)?.as_ref()
    }

    /// Puts one in.
    pub fn set(&mut self, coding: Coding, body: Body) {
        if let Some(slot) = place(coding).and_then(|place| self.0.get_mut(place)) {
            *slot = Some(body);
        }
    }

    /// Those that are there.
    pub fn iter(&self) -> impl Iterator<Item = (Coding, &Body)> {
        let all = Coding::ENCODED.into_iter().zip(&self.0);
        all.filter_map(|(coding, body)| Some((coding, body.as_ref()?)))
    }

    pub(crate) fn cost(&self) -> usize {
        self.iter().map(|(_, body)| body.cost()).sum()
    }
}

fn place(coding: Coding) -> Option<usize> {
    Coding::ENCODED.iter().position(|&own| own == coding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cut_across_chunks() {
        let body = Body::from_chunks([b"abc".to_vec(), Vec::new(), b"d".to_vec(), b"efg".to_vec()]);
        assert_eq!((body.len(), body.to_vec()), (7, b"abcdefg".to_vec()));
        for start in 0..9 {
            for len in 0..9 {
                let piece: Vec<u8> = body.slices(start, len).flatten().copied().collect();
                let end = (start + len).min(7);
                let expected = &b"abcdefg"[start.min(7) as usize..end as usize];
                assert_eq!(piece, expected, "{start} {len}");
            }
        }
        assert!(body.slices(u64::MAX, u64::MAX).next().is_none());
        assert!(Body::new(Vec::new()).is_empty());
    }

    #[test]
    fn forms_are_kept_by_coding() {
        let mut forms = Forms::default();
        forms.set(Coding::Gzip, Body::new(b"gz".to_vec()));
        forms.set(Coding::Identity, Body::new(b"no".to_vec()));
        assert_eq!(forms.get(Coding::Gzip).map(Body::len), Some(2));
        assert!(forms.get(Coding::Zstd).is_none() && forms.get(Coding::Identity).is_none());
        assert_eq!(forms.iter().count(), 1);
        assert!(forms.cost() > 2);
    }
}
