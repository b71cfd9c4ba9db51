"""cacheproof: does your cache keep its promises, when requests interleave and things break?"""
