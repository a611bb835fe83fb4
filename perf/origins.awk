# From addr2line -a -i (the files a frame's code came from, inlined ones first) to one line for each address: the address as
# the stacks have it, then crate and module of each file. `addresses` lists those, in the order they were asked for;
# `root` is our own crate.

BEGIN { while ((getline line < addresses) > 0) asked[++count] = line }

/^0x[0-9a-f]+$/ {
    if (number) print text
    text = asked[++number]
    next
}

{
    sub(/:[0-9?]+( \(.*\))?$/, "")
    if (index($0, root "/src/") == 1) {
        crate = "moqswitch"
        rest = substr($0, length(root "/src/") + 1)
    } else if (match($0, /\/registry\/src\/[^\/]+\/[^\/]+\//)) {
        crate = substr($0, RSTART, RLENGTH - 1)
        rest = substr($0, RSTART + RLENGTH)
        sub(/.*\//, "", crate); sub(/-[0-9].*/, "", crate); gsub(/-/, "_", crate)
        sub(/^src\//, "", rest)
    } else {
        # The standard library works for whoever calls it.
        next
    }
    sub(/\/.*/, "", rest); sub(/\.[a-z]+$/, "", rest)
    origin = " " crate "::" rest "::"
    if (substr(text, length(text) - length(origin) + 1) != origin) text = text origin
}

END { if (number) print text }
