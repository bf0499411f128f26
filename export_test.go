package maskstore

// AsNew has the group take its ID for a random one of its own.
func (g *Group) AsNew() *Group {
	g.isNew = true
	return g
}
