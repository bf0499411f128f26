module github.com/pacs-extension/maskstore/examples

go 1.26.0

require github.com/pacs-extension/maskstore v0.0.0

replace github.com/pacs-extension/maskstore => ../
